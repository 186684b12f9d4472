"""Run by test_sharded.py under torchrun: an Alignment sharded by FSDP2 against the same one whole; exits 0 if equal."""

import copy
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM

from calrec.losses import ObjectiveSettings, contrastive_terms, objective
from calrec.model.backbones import BackboneSettings, RandomSettings, load_backbone
from calrec.model.layers import decoder_of, train_top_layers
from calrec.model.towers import Towers
from calrec.training.alignment import Alignment
from calrec.training.weight_files import is_sharded, load_weights, save_weights, unsharded


def batch():
    """Two sequences of three items each, the last two of which are targets."""
    ids = torch.randint(0, 256, (2, 12), generator=torch.Generator().manual_seed(0))
    row, start = torch.tensor([0, 0, 1, 1]), torch.tensor([4, 8, 4, 8])
    label_row, label_position = row.repeat_interleave(4), (start[:, None] + torch.arange(4) - 1).flatten()
    return {
        "input_ids": ids,
        "row": row,
        "history_end": start,
        "target_start": start,
        "target_end": start + 4,
        "label_row": label_row,
        "label_position": label_position,
        "labels": ids[label_row, label_position + 1],
        "item_ids": torch.stack([ids[r, s : s + 4] for r, s in zip(row, start, strict=True)]),
        "item_row": torch.arange(4),
        "item_start": torch.zeros(4, dtype=torch.long),
        "item_end": torch.full((4,), 4),
        "target_item": torch.arange(4),
    }


def loss(alignment):
    output = alignment(**batch())
    same = torch.eye(4, dtype=torch.bool)
    terms = {"nig": output.next_item / 16, **contrastive_terms(alignment.settings, *output.vectors, same)}
    return objective(alignment.settings, terms)


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def check(train_layers, folder):
    shape = RandomSettings(hidden_size=16, layers=3, heads=2)
    lm = load_backbone(BackboneSettings(backbone="bytes", init="random", random=shape)).lm
    train_top_layers(lm, train_layers)
    plain = Alignment(Towers(copy.deepcopy(lm)), ObjectiveSettings()).train()
    sharded = Alignment(Towers(lm), ObjectiveSettings()).train()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in decoder_of(lm).layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    assert is_sharded(lm)
    for alignment in (plain, sharded):
        alignment.total = loss(alignment)
        alignment.total.backward()
    torch.testing.assert_close(sharded.total, plain.total)
    wanted = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    found = {name: whole(p.grad) for name, p in sharded.named_parameters() if p.grad is not None}
    assert wanted.keys() == found.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)
    norm = torch.nn.utils.clip_grad_norm_(sharded.parameters(), 1.0)
    assert torch.isfinite(torch.as_tensor(norm)).all()

    state = {name: whole(weight).detach() for name, weight in sharded.state_dict().items()}
    if dist.get_rank() == 0:
        save_weights(lm, folder, state)
    dist.barrier()
    saved = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    again = unsharded(lm)
    assert type(again) is type(plain.towers.lm)
    for name, weight in plain.towers.lm.state_dict().items():
        assert torch.equal(saved[name], weight), name
        assert torch.equal(again.state_dict()[name], weight), name
    with torch.no_grad():
        for weight in lm.parameters():
            weight.zero_()
    load_weights(lm, folder)
    for name, weight in plain.towers.lm.named_parameters():
        assert torch.equal(whole(lm.get_parameter(name)), weight), name


if __name__ == "__main__":
    dist.init_process_group("gloo")
    for layers in (None, 2):
        check(layers, Path(sys.argv[1]) / str(layers))
    dist.destroy_process_group()
