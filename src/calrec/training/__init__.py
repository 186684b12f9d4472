"""Fine-tuning in two stages."""

import logging

# Where bitsandbytes is installed, peft imports it, and it warns of a kernel that only inference on a CPU would use.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
