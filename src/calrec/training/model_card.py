"""The model card: what a run's README says, in its own folder and, with results, on a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCardData

from calrec.model import smollm2
from calrec.text.prompt import render
from calrec.training.run_card import RunCard

OTHER = "other"
_NO_RESULTS = "None were given. `calrec evaluate` makes them, and `calrec push --result` puts them here."


def model_card(
    card: RunCard,
    *,
    results: str = _NO_RESULTS,
    licence: str = OTHER,
    repository: str = "",
    with_catalogue: bool = True,
) -> str:
    """Metadata in YAML, as model hubs read it, and the card in Markdown.

    Args:
        card: of the run.
        results: Markdown, as the run's folder alone does not know them.
        licence: a hub's id of it, such as ``apache-2.0``; ``other`` leaves it to the backbone's.
        repository: where the model can be had; a local folder where empty.
        with_catalogue: whether the items lie beside the weights.
    """
    card = without_folders(card)
    data = ModelCardData(
        base_model=base_model(card),
        library_name="calrec",
        license=licence,
        license_name="backbone-licence" if licence == OTHER and base_model(card) else None,
        pipeline_tag="text-generation",
        tags=["calrec", "transformers", "sequential-recommendation", "recommendation"],
    )
    sections = {
        **({"Data": _data(card)} if card.domains else {}),
        **({"Training": _training(card)} if card.tokens else {}),
        "Recipe": _recipe(card),
        "Results": results,
        "Use": _use(card, repository, with_catalogue),
        "Licence": _licence(card, licence),
        **({"Limits": _limits(card)} if card.domains else {}),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"---\n{data.to_yaml()}\n---\n\n{_introduction(card)}\n\n{body}\n"


def without_folders(card: RunCard) -> RunCard:
    """The card as strangers may read it: absolute paths of the machine that trained give way to their last names."""
    plan = card.plan
    changes: dict[str, Any] = {"model": plan.model.model_copy(update={"backbone": _bare(plan.model.backbone)})}
    if plan.stage_one is not None:
        domains = tuple(map(_bare, plan.stage_one.domains))
        changes["stage_one"] = plan.stage_one.model_copy(update={"domains": domains})
    if plan.stage_two is not None:
        changes["stage_two"] = plan.stage_two.model_copy(update={"domain": _bare(plan.stage_two.domain)})
    return card.model_copy(update={"plan": plan.model_copy(update=changes), "backbone": _origin(card)})


def base_model(card: RunCard) -> str | None:
    """The hub's id of the backbone; None for random weights and for those of a local folder."""
    settings = card.plan.model
    if settings.init == "random":
        return None
    if settings.backbone == smollm2.NAME:
        return smollm2.REPOSITORY
    return card.backbone.removeprefix("hub ").partition("@")[0] if card.backbone.startswith("hub ") else None


def _origin(card: RunCard) -> str:
    settings = card.plan.model
    if settings.init == "random":
        return f"random, seed {settings.random.seed}, vocabulary of {_bare(settings.backbone)}"
    return card.backbone if base_model(card) else _bare(settings.backbone)


def _bare(path: str) -> str:
    return Path(path).name if path.startswith("~") or Path(path).is_absolute() else path


def _introduction(card: RunCard) -> str:
    if not card.tokens:
        return (
            "# A language model as it was, in a template of CALRec\n\n"
            "Nothing was trained: `calrec` writes purchase histories as text for it, and maps what it writes to items "
            f"of a catalogue. From {card.backbone} (SHA-256 of the weights `{card.fingerprint}`), by calrec "
            f"{card.version}."
        )
    target = card.domains[card.stage][-1].name
    return (
        f"# A CALRec model of {target}\n\n"
        "A language model that recommends: it reads a purchase history as text and writes the next item, and "
        "`calrec` maps what it wrote to items of a catalogue. Fine-tuned after "
        "*CALRec: Contrastive Alignment of Generative LLMs for Sequential Recommendation* (RecSys 2024) by "
        f"calrec {card.version}, from {card.backbone} (SHA-256 of the weights `{card.fingerprint}`)."
    )


def _data(card: RunCard) -> str:
    rows = [[stage, domain.name, f"`{domain.split_hash}`"] for stage, of in card.domains.items() for domain in of]
    return (
        table(("stage", "domain", "split hash"), rows)
        + "\n\nA split hash is the SHA-256 of a domain's items and of every user's sequence. The last item of each "
        "sequence was kept for testing, the one before it for validation; the rest was trained on."
    )


def _training(card: RunCard) -> str:
    names = dict.fromkeys(name for best in card.best.values() for name in best)
    terms = sorted(names, key=lambda name: name == "step")  # the update last
    rows = [
        [stage, f"{tokens:,}", *(_number(card.best.get(stage, {}).get(name)) for name in terms)]
        for stage, tokens in card.tokens.items()
    ]
    return (
        "Tokens that training saw, and the validation of the weights that were kept, with the update they were "
        "reached at:\n\n" + table(("stage", "tokens", *terms), rows)
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _recipe(card: RunCard) -> str:
    settings = card.plan.model_dump(mode="json", exclude_defaults=True)
    recipe = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100)
    return (
        f"```yaml\n{recipe}```\n\nWhat is not said is calrec {card.version}'s default; `calrec.json` beside the "
        "weights says all."
    )


def _use(card: RunCard, repository: str, with_catalogue: bool) -> str:
    place = repository or "path/to/this/folder"
    label = card.plan.text.attributes[0].label
    prompt = render(card.plan.text, [f"{label}: Red pen"])
    folder = f'snapshot_download("{place}")' if repository else f'"{place}"'
    fetch = ["from huggingface_hub import snapshot_download", ""] if repository else []
    load = (
        [f"recommender = calrec.CALRec.from_pretrained({folder})"]
        if with_catalogue
        else [
            'domain = calrec.load_domain("path/to/a/domain")  # made by `calrec data prepare`',
            f"recommender = calrec.CALRec.for_domain({folder}, domain)",
        ]
    )
    ours = ["import calrec", *fetch, *load, 'for place in recommender.recommend([["AN ITEM\'S ID OR TITLE"]], k=5)[0]:']
    ours.append("    print(place.rank, place.item_id, place.text)")
    plain = [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'tokenizer = AutoTokenizer.from_pretrained("{place}")',
        f'model = AutoModelForCausalLM.from_pretrained("{place}")',
        f"inputs = tokenizer({prompt!r}, return_tensors='pt', return_token_type_ids=False)",
        "written = model.generate(**inputs, do_sample=True, temperature=0.5, max_new_tokens=48)",
        "print(tokenizer.decode(written[0, inputs.input_ids.shape[1]:]).partition('\\n')[0])",
    ]
    return (
        f"Recommendations, with calrec:\n\n{_python(ours)}\n\n"
        f"The next item as text, with transformers alone:\n\n{_python(plain)}"
    )


def _licence(card: RunCard, licence: str) -> str:
    if licence != OTHER:
        return f"The weights are given under `{licence}`. The backbone's own licence ({card.backbone}) applies as well."
    if card.plan.model.init == "random":
        return "None was stated. The weights began random, so that no backbone's licence applies."
    base = base_model(card)
    link = f" ([{base}](https://huggingface.co/{base}))" if base else ""
    return f"The licence of the backbone, {card.backbone}{link}, applies."


def _limits(card: RunCard) -> str:
    lengths = card.plan.lengths
    return "\n".join(
        (
            f"- It knows the domains above, and reads at most {lengths.max_history} items and {lengths.max_tokens} "
            "tokens of a history.",
            "- It may write items that do not exist; what it writes is a recommendation only once it is matched to a "
            "catalogue.",
            "- It repeats what its users bought, popular items above all, and may give away texts of items and habits "
            "of users it was trained on.",
            "- Its losses and results hold for the split hashes above; other data has to be evaluated anew.",
        )
    )


def table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _python(lines: list[str]) -> str:
    return "```python\n" + "\n".join(lines) + "\n```"
