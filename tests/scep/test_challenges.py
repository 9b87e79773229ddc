"""Challenge passwords, the one-time ones of NDES among them (quirk 19)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scep.authority import Authority
from scep.behavior import Behavior
from scep.challenges import OneTimeChallenges
from scep.exchange import Issued, Pending, Step
from scep.responder import Responder
from scep.server import serving
from tests.scep.enrolling import NOW, error_of, run, transaction


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("NDES-like CA", now=NOW)


def test_quirk_19_a_challenge_is_good_once(authority: Authority) -> None:
    challenges = OneTimeChallenges()
    responder = Responder(authority, challenge=challenges)
    challenge = challenges.issue(now=NOW)
    with serving(responder) as url:
        assert isinstance(run(url, transaction(challenge=challenge)), Issued)
        error = error_of(run(url, transaction(challenge=challenge)))
    assert (error.server_words, error.worth_polling) == ("the challenge password is wrong", False)


def test_quirk_19_one_request_never_spends_a_second_challenge(authority: Authority) -> None:
    """Polls, inquiries and the repeated message are the same transaction: its password was taken once."""
    challenges = OneTimeChallenges()
    responder = Responder(authority, challenge=challenges, behavior=Behavior(pending=1, drop_replies=1))
    made, sent = transaction(challenge=challenges.issue(now=NOW)), list[str]()
    with serving(responder) as url:
        assert error_of(run(url, made, sent=sent)).worth_polling
        responder.behavior = Behavior()
        assert isinstance(run(url, made, Step.INQUIRE, sent=sent), Issued)
        assert isinstance(run(url, made, sent=sent), Issued), "the very same message"
    assert sent == ["PKCSReq", "CertPoll", "PKCSReq"]
    assert [message.outcome for message in responder.messages] == ["pending", "issued", "again"]


def test_quirk_19_a_refused_challenge_is_not_sent_again(authority: Authority) -> None:
    responder, sent = Responder(authority, challenge=OneTimeChallenges()), list[str]()
    with serving(responder) as url:
        error_of(run(url, transaction(challenge="used up"), sent=sent))
    assert sent == ["PKCSReq"]


def test_quirk_19_challenges_live_for_an_hour_and_five_wait() -> None:
    challenges = OneTimeChallenges()
    issued = [challenges.issue(now=NOW + timedelta(minutes=minute)) for minute in range(5)]
    assert len(set(issued)) == 5
    with pytest.raises(RuntimeError, match="5 wait"):
        challenges.issue(now=NOW + timedelta(minutes=59))
    later = NOW + timedelta(minutes=60)
    assert not challenges.accept(issued[0], now=later)
    assert challenges.accept(issued[1], now=later)
    assert set(challenges.outstanding(now=later)) == set(issued[2:])
    challenges.issue(now=later)


def test_a_pending_request_has_spent_its_challenge(authority: Authority) -> None:
    challenges = OneTimeChallenges()
    responder = Responder(authority, challenge=challenges, behavior=Behavior(pending=1))
    made = transaction(challenge=challenges.issue(now=NOW))
    with serving(responder) as url:
        assert isinstance(run(url, made), Pending)
        assert challenges.outstanding(now=NOW) == ()
        assert isinstance(run(url, made, Step.POLL), Issued)
