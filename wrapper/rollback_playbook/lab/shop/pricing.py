"""What a product costs, and what a loyal customer saves."""

from __future__ import annotations

from decimal import Decimal

_PERCENT_PER_TIER = Decimal("0.01")


def shown_price(price: Decimal) -> Decimal:
    """The price on the page."""
    return price


def loyalty_discount(total: Decimal, tier: int) -> Decimal:
    """One percent per tier."""
    return (total * tier * _PERCENT_PER_TIER).quantize(Decimal("0.01"))
