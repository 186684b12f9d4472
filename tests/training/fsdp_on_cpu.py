"""A script: `calrec` where FSDP is asked for by accelerate's environment, sharded over CPUs too.

Accelerate 1.15 turns FSDP on for accelerators alone (``AcceleratorState.__init__`` in ``accelerate/state.py``) and
trains by DDP on CPUs without a word. That one decision is made differently here; all that follows from it, in
accelerate, transformers and calrec, is what runs on accelerators.
"""

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from calrec.cli.main import run

_decide = AcceleratorState.__init__


def decide_for_fsdp(self, *args, fsdp_plugin=None, **kwargs):
    _decide(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin


if __name__ == "__main__":
    AcceleratorState.__init__ = decide_for_fsdp
    run()
