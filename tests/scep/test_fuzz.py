"""A short run of the fuzzer: some thousand changed messages.

The long run is `python -m tests.scep.fuzz --minutes 10 --seed N`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from scep import ber
from tests.scep.fuzz.corpus import Corpus, collect
from tests.scep.fuzz.mutation import Mutator, Node
from tests.scep.fuzz.running import Fuzzer, Tally
from tests.scep.fuzz.targets import Target, targets_of
from tests.scep.fuzz.wire import answers, wire

SEED = 20_261_125
ROUNDS = 120


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return collect()


@pytest.fixture(scope="module")
def targets(corpus: Corpus) -> Iterator[list[Target]]:
    with wire() as over_http:
        corpus.kinds["http"] = answers(corpus)
        yield [*targets_of(corpus), Target("HTTP", ("http",), over_http.run)]


def test_each_kind_of_real_messages_was_captured(corpus: Corpus, targets: list[Target]) -> None:
    for target in targets:
        for kind in target.kinds:
            assert corpus.kinds[kind], kind
    # from ten conversations of ours, three of strongSwan and scepclient, and one with scepserver
    assert len(corpus.kinds["request"]) > 15
    assert len(corpus.kinds["cert_rep"]) > 15


def test_real_messages_are_no_findings(corpus: Corpus, targets: list[Target]) -> None:
    """Every target understands at least one of them as it is: what is changed was a message before."""
    fuzzer, tally = Fuzzer(corpus, targets, SEED), Tally()
    for target in targets:
        for message in [message for kind in target.kinds for message in corpus.kinds[kind]]:
            fuzzer.one(target, message, tally)
    assert not tally.findings, tally
    good = {"HttpRequest", "NextCa", "Issued", "issued", "ServerProfile"}
    for target in targets:
        outcomes = " ".join(tally.outcomes[target.name])
        understood = good | {"FoundCertificate", "FoundCrl", "crl", "message_check_failed"}
        assert any(word in outcomes for word in understood), (target.name, outcomes)


def test_changed_messages_end_in_a_result_or_a_scep_error(corpus: Corpus, targets: list[Target]) -> None:
    tally, weight = Tally(), sum(target.weight for target in targets)
    Fuzzer(corpus, targets, SEED).run(tally, most=ROUNDS * weight)
    print(tally)
    assert not tally.findings, tally
    # changes go deep enough to be told apart, and not so deep that nothing is left
    assert {len(outcomes) > 1 for name, outcomes in tally.outcomes.items() if name != "GetCACaps"} == {True}


def test_the_fuzzer_finds_what_is_there(corpus: Corpus) -> None:
    def broken(message: bytes) -> str:
        return str(message[100])

    tally = Tally()
    # one in a hundred is cut so short, and what is drawn depends on the lengths of the messages too
    Fuzzer(corpus, [Target("broken", ("cert_rep",), broken)], SEED).run(tally, most=3000)
    (found,) = tally.findings.values()
    assert found.problem.startswith("IndexError")
    assert found.where.startswith("test_fuzz.py:")
    assert len(found.message) <= 100


def test_what_is_not_changed_is_written_as_it_was_read(corpus: Corpus) -> None:
    dice = random.Random(SEED)
    for message in corpus.kinds["request"] + corpus.kinds["csr"]:
        der = ber.to_der(message)
        assert Node.read(der).write(dice) == der


def test_a_piece_of_another_message_is_never_put_into_itself() -> None:
    inner = ber.wrap(0x31, ber.wrap(0x30, ber.wrap(0x04, b"abc") + ber.wrap(0x02, b"\1")))
    message = ber.wrap(0x30, ber.wrap(0x30, inner) + ber.wrap(0x30, ber.wrap(0x05, b"")))
    for seed in range(40):
        mutator = Mutator(random.Random(seed), [message])
        for _ in range(300):
            # a ring would have no end
            mutator.mutate(message)


def test_the_same_seed_makes_the_same_changes(corpus: Corpus) -> None:
    messages = corpus.kinds["cert_rep"]
    first, second, third = (Mutator(random.Random(seed), messages) for seed in (1, 1, 2))
    changed = [[each.mutate(message) for message in messages] for each in (first, second, third)]
    assert changed[0] == changed[1]
    assert changed[0] != changed[2]
