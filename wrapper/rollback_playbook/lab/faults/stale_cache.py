"""Prices of a release that was taken back by hand, and its cache forgotten."""

from __future__ import annotations

from decimal import Decimal

from rollback_playbook.lab import seeding
from rollback_playbook.lab.asking import ask
from rollback_playbook.lab.deployment import deploy
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab
from rollback_playbook.lab.releases import BAD, GOOD

_PRODUCTS = range(1, 51)


def _forget_the_cache(lab: Lab) -> None:
    deploy(lab, BAD)
    for product in _PRODUCTS:
        ask(lab.state().ports["shop"], f"/products/{product}")
    deploy(lab, GOOD)


def _wrong_prices(lab: Lab) -> list[str]:
    state = lab.state()
    with seeding.connect(state, "shop") as connection:
        rows = connection.execute("SELECT id, price FROM products WHERE id <= 50").fetchall()
    prices = {int(str(number)): Decimal(str(price)) for number, price in rows}
    shown = {
        product: ask(state.ports["nginx"], f"/products/{product}").get("price")
        for product in _PRODUCTS
    }
    wrong = sum(Decimal(str(price or 0)) != prices[number] for number, price in shown.items())
    return [f"{wrong} of {len(shown)} products are shown at another price"] if wrong else []


FAULT = Fault(
    name="stale-cache",
    title="release 1.1.0 was taken back, and its prices are still in the cache",
    scenarios=("cache-flush",),
    cause=_forget_the_cache,
    symptoms=_wrong_prices,
)
