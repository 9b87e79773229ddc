"""RSA keys that cost next to nothing, in place of those that take 42 ms each.

A key is two primes. Of n primes n * (n - 1) / 2 different keys are made, each of them whole and used once, so
that nothing downstream can tell: transaction IDs, CSRs, signatures and certificates are what they always are.
Keys that share primes are worthless outside of a simulation.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import rsa

_EXPONENT = 65537


def _primes(generate: Callable[..., rsa.RSAPrivateKey], key_size: int) -> Iterator[int]:
    """Primes of half of `key_size` bits, with their two highest bits set: any two make a key of that size."""
    while True:
        numbers = generate(public_exponent=_EXPONENT, key_size=key_size).private_numbers()
        yield from (numbers.p, numbers.q)


def _pairs(primes: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Each pair once; a new prime is drawn when all pairs of the former ones are used up."""
    known: list[int] = []
    for prime in primes:
        yield from zip(known, itertools.repeat(prime), strict=False)
        known.append(prime)


def _key(p: int, q: int) -> rsa.RSAPrivateKey:
    d = pow(_EXPONENT, -1, math.lcm(p - 1, q - 1))
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(_EXPONENT, p * q),
    ).private_key(unsafe_skip_rsa_key_validation=True)


@contextlib.contextmanager
def cheap_keys() -> Iterator[None]:
    """Within the block `rsa.generate_private_key` puts keys together; it is where all keys come from."""
    generate = rsa.generate_private_key
    pools: dict[int, Iterator[tuple[int, int]]] = {}

    def put_together(public_exponent: int, key_size: int, backend: Any = None) -> rsa.RSAPrivateKey:
        if public_exponent != _EXPONENT:
            raise ValueError(f"the public exponent {_EXPONENT} was expected, not {public_exponent}")
        if key_size not in pools:
            pools[key_size] = _pairs(_primes(generate, key_size))
        return _key(*next(pools[key_size]))

    with mock.patch.object(rsa, "generate_private_key", put_together):
        yield
