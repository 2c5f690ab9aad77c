"""Dividing an amount over payees by weight in exact integers, to the last unit or rounded down.

`apportion` is Hamilton's method, or largest remainder: everyone gets the whole part of their exact share, their
quota, and the units that are left go one each to the largest fractional parts (M. L. Balinski and H. P. Young,
*Fair Representation*, 1982, chapter 2). `quotas` leaves these units undivided. A floor and a cap are met by
water-filling first, and the method divides what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction


def apportion(total: int, weights: Sequence[int], *, floor: int = 0, cap: int | None = None) -> list[int]:
    """Divide `total` over payees in proportion to `weights`.

    The real-valued answer is `clamp(k * weight, floor, cap)` for the `k` at which the sum is `total`. Payees
    at a bound get the bound; the others share the rest by largest remainder, ties going to the lower
    position. So everyone is less than one unit away from the real-valued answer, and nobody crosses a bound.

    A larger weight never gets less than a smaller one. A larger total may cost a payee one unit, never more:
    largest remainder is subject to the Alabama paradox.

    Args:
        total: what there is to divide, in minor units.
        weights: one weight per payee, in any unit, of any size. A zero weight gets zero, whatever the floor.
        floor: the least that a payee with a positive weight gets, in minor units.
        cap: the most that a payee gets, in minor units; None for no cap.

    Returns:
        One amount in minor units per weight, in the order of `weights`. They add up to exactly `total`, or to
        less where no one may take more: every positive weight is at the cap, or all weights are zero.

    Raises:
        TypeError: an argument or a weight is not a plain int (a bool, a float and a NumPy scalar are not).
        ValueError: `total`, `floor` or a weight is negative, `cap` is below `floor`, or the floors add up to
            more than `total`.
    """
    return _divided(total, weights, floor, cap, _largest_remainder)


def quotas(total: int, weights: Sequence[int], *, floor: int = 0, cap: int | None = None) -> list[int]:
    """What `apportion` gives before it places the units that are left: the exact `clamp(k * weight, floor, cap)`.

    Each is rounded down to a whole unit, so that they add up to at most `total`, and a payee's own follows from `k`
    and its weight alone. Arguments and errors are those of `apportion`.
    """
    return _divided(total, weights, floor, cap, _rounded_down)


def proportion(total: int, weights: Sequence[int], *, floor: int = 0, cap: int | None = None) -> Fraction:
    """The `k` of `quotas` and `apportion`: what a unit of weight comes to, in lowest terms.

    A positive weight's quota is `clamp(k * weight, floor, cap)`, rounded down, and that of a zero weight is 0. Where
    every `k` of a range gives the same quotas, it is the cap if all are at the cap, and 0 if all are at the floor.
    Where all weights are zero, it is the cap, or the total without one. Arguments are those of `apportion`.

    Raises:
        TypeError, ValueError: as `apportion` does.
    """
    _validate(total, weights, floor, cap)
    limit = total if cap is None else cap
    payees, whole = len(weights) - weights.count(0), sum(weights)
    if floor * payees > total:
        raise ValueError(f"floor: {payees} payees at {floor} each need more than the total of {total}")
    if limit * payees <= total:
        return Fraction(total, whole or 1) if cap is None else Fraction(cap)
    if floor == 0 and total * max(weights) <= limit * whole:
        return Fraction(total, whole)
    if floor * payees == total:
        return Fraction(0)
    lightest, heaviest = _unbounded(total, weights, floor, limit)
    capped = sum(1 for weight in weights if weight > heaviest)
    floored = sum(1 for weight in weights if 0 < weight < lightest)
    moving = sum(weight for weight in weights if lightest <= weight <= heaviest)
    return Fraction(total - limit * capped - floor * floored, moving)


def _divided(
    total: int,
    weights: Sequence[int],
    floor: int,
    cap: int | None,
    divide: Callable[[int, Sequence[int]], list[int]],
) -> list[int]:
    """Water-filling, with `divide` for those whom no bound holds."""
    _validate(total, weights, floor, cap)
    limit = total if cap is None else cap
    payees = len(weights) - weights.count(0)

    if floor * payees > total:
        raise ValueError(f"floor: {payees} payees at {floor} each need more than the total of {total}")
    if limit * payees <= total:
        return [limit if weight else 0 for weight in weights]
    if floor == 0 and total * max(weights) <= limit * sum(weights):
        return divide(total, weights)
    if floor * payees == total:
        return [floor if weight else 0 for weight in weights]

    lightest, heaviest = _unbounded(total, weights, floor, limit)
    bounds = [limit if weight > heaviest else floor if 0 < weight < lightest else 0 for weight in weights]
    unbounded = [weight if lightest <= weight <= heaviest else 0 for weight in weights]
    shares = divide(total - sum(bounds), unbounded)
    return [bound + share for bound, share in zip(bounds, shares, strict=True)]


def _validate(total: int, weights: Sequence[int], floor: int, cap: int | None) -> None:
    """Refuse what is not a plain int or is negative, and a cap below the floor."""
    for name, value in (("total", total), ("floor", floor), ("cap", 0 if cap is None else cap)):
        if type(value) is not int:
            raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    for kind in set(map(type, weights)) - {int}:
        raise TypeError(f"weights must be ints, not {kind.__name__}")
    if total < 0:
        raise ValueError(f"total must not be negative, got {total}")
    if floor < 0:
        raise ValueError(f"floor must not be negative, got {floor}")
    if cap is not None and cap < floor:
        raise ValueError(f"cap must not be below the floor of {floor}, got {cap}")
    if min(weights, default=0) < 0:
        raise ValueError(f"weights must not be negative, got {min(weights)}")


def _rounded_down(total: int, weights: Sequence[int]) -> list[int]:
    """The whole part of each exact share; at least one weight is positive."""
    whole = sum(weights)
    return [total * weight // whole for weight in weights]


def _largest_remainder(total: int, weights: Sequence[int]) -> list[int]:
    """Hamilton's method; at least one weight is positive."""
    whole, amounts = sum(weights), _rounded_down(total, weights)
    remainders = [total * weight % whole for weight in weights]
    # A stable sort, so that ties go to the lower position. A remainder of zero is never reached: fewer units
    # are left than there are fractional parts that make them up.
    by_remainder = sorted(range(len(weights)), key=remainders.__getitem__, reverse=True)
    for position in by_remainder[: total - sum(amounts)]:
        amounts[position] += 1
    return amounts


def _unbounded(total: int, weights: Sequence[int], floor: int, cap: int) -> tuple[int, int]:
    """Returns the smallest and the largest weight that no bound affects, where all floors < total < all caps.

    The sum of `clamp(k * weight, floor, cap)` grows with `k` from all floors to all caps, in straight lines
    that break where a weight leaves its floor or meets its cap. Both happen to heavier weights first. So `k`
    is swept over those breaks, kept as fractions `bound / weight`, to the first whose sum reaches `total`.
    Weights that reach a bound just there count as unbounded: their exact share is the bound, a whole number,
    and a whole number is not rounded.
    """
    descending = sorted(filter(None, weights), reverse=True)
    capped = opened = 0  # descending[:capped] are at the cap, descending[opened:] are at the floor
    moving = 0  # the sum of the weights in between, whose amounts grow with k
    pot = total - floor * len(descending)  # what those at a bound leave to those in between
    while True:
        opens = opened < len(descending) and floor * descending[capped] <= cap * descending[opened]
        bound, weight = (floor, descending[opened]) if opens else (cap, descending[capped])
        if moving * bound >= pot * weight:
            return descending[opened - 1], descending[capped]
        if opens:
            opened, moving, pot = opened + 1, moving + weight, pot + floor
        else:
            capped, moving, pot = capped + 1, moving - weight, pot - cap
