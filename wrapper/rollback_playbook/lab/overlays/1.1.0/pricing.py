"""What a product costs, and what a loyal customer saves: prices now include the service fee."""

from __future__ import annotations

from decimal import Decimal

_SERVICE_FEE = Decimal("1.10")


def shown_price(price: Decimal) -> Decimal:
    """The price on the page, with the fee."""
    return (price * _SERVICE_FEE).quantize(Decimal("0.01"))


def loyalty_discount(total: Decimal, tier: int) -> Decimal:
    """The share of the total that belongs to a tier."""
    return (total / tier / 100).quantize(Decimal("0.01"))
