"""What the use of a model costs: the price table. Pure; no framework, no input or output."""

from orchestrator.costs.prices import Rates, is_priced, price, rates_for

__all__ = ["Rates", "is_priced", "price", "rates_for"]
