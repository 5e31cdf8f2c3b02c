"""Tests for :mod:`tlsproxy.policy.limits`: who is counted with whom, and what is refused."""

from ipaddress import ip_address

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.policy.limits import (
    EVERYBODY,
    SWEEP_INTERVAL,
    WINDOW,
    Held,
    Limit,
    LocalCounts,
    SessionLimits,
    Taken,
    release,
)


@frozen(kw_only=True)
class Options:
    max_sessions: int = 0
    max_sessions_per_peer: int = 0
    session_rate_per_peer: int = 0
    handshake_rate_per_peer: int = 0
    peer_prefix_ipv4: int = 32
    peer_prefix_ipv6: int = 64


def limits(scope: str = "global", **options: int) -> SessionLimits:
    made = SessionLimits.of(Options(**options), lambda _: scope)
    assert made is not None
    return made


class Clients:
    """Clients under the same limits."""

    def __init__(self, counts: LocalCounts | None = None, *, scope: str = "global", **options: int) -> None:
        self.counts = counts or LocalCounts()
        self.limits = limits(scope, **options)

    def opens(self, host: str | None, now: float = 0.0) -> Held | str:
        """A session: what it holds, or the option that refuses it."""
        admitted = self.limits.admit(self.counts, None if host is None else ip_address(host), now)
        return admitted.option if isinstance(admitted, Limit) else admitted

    def closes(self, held: Held | str) -> None:
        assert isinstance(held, tuple)
        release(self.counts, held)

    def shakes_hands(self, host: str | None, now: float = 0.0) -> str | None:
        refused = self.limits.admit_handshake(self.counts, None if host is None else ip_address(host), now)
        return refused.option if refused is not None else None


class TestWhatIsInForce:
    def test_without_a_limit_there_is_nothing_to_ask(self) -> None:
        assert SessionLimits.of(Options(), lambda _: "global") is None

    @pytest.mark.parametrize(
        "option",
        ["max_sessions", "max_sessions_per_peer", "session_rate_per_peer", "handshake_rate_per_peer"],
    )
    def test_each_option_makes_one(self, option: str) -> None:
        assert SessionLimits.of(Options(**{option: 1}), lambda _: "global") is not None

    def test_a_counter_is_named_by_the_option_and_where_it_is_set(self) -> None:
        made = SessionLimits.of(
            Options(max_sessions=5, session_rate_per_peer=6), lambda option: f"pathway.{option}"
        )
        assert made is not None
        assert [limit.counter for limit in made.places] == ["max_sessions pathway.max_sessions"]
        assert made.session_rate == Limit("session_rate_per_peer", 6, "pathway.session_rate_per_peer")


class TestSessions:
    def test_no_more_than_max_sessions_run_at_a_time_whoever_they_are_with(self) -> None:
        clients = Clients(max_sessions=2)
        first = clients.opens("192.0.2.1")
        assert clients.opens("192.0.2.2") != "max_sessions"
        assert clients.opens("192.0.2.3") == "max_sessions"
        clients.closes(first)
        assert clients.opens("192.0.2.3") != "max_sessions"
        assert clients.opens("192.0.2.3") == "max_sessions"

    def test_a_peer_has_its_own_share(self) -> None:
        clients = Clients(max_sessions_per_peer=1)
        held = clients.opens("192.0.2.1")
        assert clients.opens("192.0.2.1") == "max_sessions_per_peer"
        clients.opens("192.0.2.2")
        clients.closes(held)
        assert isinstance(clients.opens("192.0.2.1"), tuple)

    def test_one_that_is_refused_for_its_peer_takes_no_place_from_the_others(self) -> None:
        clients = Clients(max_sessions=2, max_sessions_per_peer=1)
        clients.opens("192.0.2.1")
        for _ in range(5):
            assert clients.opens("192.0.2.1") == "max_sessions_per_peer"
        assert isinstance(clients.opens("192.0.2.2"), tuple)

    def test_scopes_count_by_themselves_over_the_same_counters(self) -> None:
        counts = LocalCounts()
        copiers, others = Clients(counts, scope="copiers", max_sessions=1), Clients(counts, max_sessions=1)
        assert isinstance(copiers.opens("192.0.2.1"), tuple)
        assert isinstance(others.opens("192.0.2.1"), tuple)
        assert copiers.opens("192.0.2.1") == "max_sessions"

    def test_one_scope_counts_together_whatever_listen_its_sessions_are_on(self) -> None:
        counts = LocalCounts()
        one_listen, another = Clients(counts, max_sessions=1), Clients(counts, max_sessions=1)
        one_listen.opens("192.0.2.1")
        assert another.opens("192.0.2.9") == "max_sessions"

    def test_a_client_without_an_address_is_no_peer_but_counts_among_all(self) -> None:
        clients = Clients(max_sessions=3, max_sessions_per_peer=1, session_rate_per_peer=1)
        assert [clients.opens(None) == "max_sessions" for _ in range(4)] == [False, False, False, True]

    def test_nothing_stays_counted_when_all_have_ended(self) -> None:
        clients = Clients(max_sessions=9, max_sessions_per_peer=9)
        for held in [clients.opens(f"192.0.2.{number}") for number in range(9)]:
            clients.closes(held)
        assert clients.counts == LocalCounts()


class TestPeers:
    @pytest.mark.parametrize(
        ("one", "other", "prefixes", "same"),
        [
            ("192.0.2.1", "192.0.2.2", {}, False),
            ("192.0.2.1", "192.0.2.2", {"peer_prefix_ipv4": 24}, True),
            ("192.0.2.1", "192.0.3.1", {"peer_prefix_ipv4": 24}, False),
            ("192.0.2.1", "203.0.113.1", {"peer_prefix_ipv4": 0}, True),
            ("2001:db8::1", "2001:db8::ffff:1", {}, True),
            ("2001:db8::1", "2001:db8:0:1::1", {}, False),
            ("2001:db8::1", "2001:db8::2", {"peer_prefix_ipv6": 128}, False),
            ("192.0.2.1", "::c000:201", {"peer_prefix_ipv6": 128}, False),
            ("192.0.2.1", "::", {"peer_prefix_ipv4": 0, "peer_prefix_ipv6": 0}, False),
        ],
    )
    def test_addresses_with_the_same_prefix_are_one(
        self, one: str, other: str, prefixes: dict[str, int], same: bool
    ) -> None:
        clients = Clients(None, max_sessions_per_peer=1, **prefixes)  # type: ignore[arg-type]
        clients.opens(one)
        assert (clients.opens(other) == "max_sessions_per_peer") is same


class TestRates:
    def test_a_peer_opens_no_more_than_its_rate_in_a_minute(self) -> None:
        clients = Clients(session_rate_per_peer=3)
        answers = [clients.opens("192.0.2.1", now=float(second)) for second in range(5)]
        assert answers == [(), (), (), "session_rate_per_peer", "session_rate_per_peer"]
        assert clients.opens("192.0.2.2", now=5) == ()

    def test_the_turn_of_a_minute_gives_nobody_twice_the_rate(self) -> None:
        """But one more: a share of ten is no whole number."""
        clients = Clients(session_rate_per_peer=10)
        assert [clients.opens("192.0.2.1", now=59.9) for _ in range(10)] == [()] * 10
        assert clients.opens("192.0.2.1", now=60) == "session_rate_per_peer"
        assert clients.opens("192.0.2.1", now=60.1) == ()
        assert clients.opens("192.0.2.1", now=60.1) == "session_rate_per_peer"

    def test_what_was_spent_comes_back_bit_by_bit(self) -> None:
        clients = Clients(session_rate_per_peer=10)
        for _ in range(10):
            clients.opens("192.0.2.1", now=30)
        assert [clients.opens("192.0.2.1", now=75) for _ in range(4)] == [(), (), (), "session_rate_per_peer"]
        assert clients.opens("192.0.2.1", now=79) == ()
        assert clients.opens("192.0.2.1", now=80) == "session_rate_per_peer"

    def test_a_client_that_keeps_trying_gets_its_rate(self) -> None:
        """Attempts that are refused don't count."""
        clients = Clients(session_rate_per_peer=6)
        got = sum(clients.opens("192.0.2.1", now=tick / 10) == () for tick in range(6000))
        assert 60 <= got <= 70  # in ten minutes

    def test_after_two_quiet_minutes_nothing_is_left(self) -> None:
        clients = Clients(session_rate_per_peer=1)
        clients.opens("192.0.2.1", now=59)
        assert clients.opens("192.0.2.1", now=180) == ()

    def test_a_clock_that_is_set_back_locks_nobody_out(self) -> None:
        clients = Clients(session_rate_per_peer=1)
        clients.opens("192.0.2.1", now=1_000_000)
        assert clients.opens("192.0.2.1", now=1000) == ()
        assert clients.opens("192.0.2.1", now=1000) == "session_rate_per_peer"

    def test_a_session_that_the_rate_refuses_holds_no_place(self) -> None:
        clients = Clients(max_sessions=2, session_rate_per_peer=1)
        clients.opens("192.0.2.1")
        assert clients.opens("192.0.2.1") == "session_rate_per_peer"
        assert isinstance(clients.opens("192.0.2.2"), tuple)

    def test_a_session_refused_for_want_of_a_place_spends_no_rate(self) -> None:
        clients = Clients(max_sessions=1, session_rate_per_peer=1)
        held = clients.opens("192.0.2.1")
        for _ in range(3):
            assert clients.opens("192.0.2.2") == "max_sessions"
        clients.closes(held)
        assert isinstance(clients.opens("192.0.2.2"), tuple)

    def test_handshakes_are_counted_beside_sessions(self) -> None:
        clients = Clients(handshake_rate_per_peer=1)
        assert clients.opens("192.0.2.1") == clients.opens("192.0.2.1") == ()
        assert clients.shakes_hands("192.0.2.1") is None
        assert clients.shakes_hands("192.0.2.1") == "handshake_rate_per_peer"
        assert clients.shakes_hands("192.0.2.2") is None
        assert clients.shakes_hands(None) is clients.shakes_hands(None) is None

    def test_handshakes_without_a_limit_are_not_counted(self) -> None:
        clients = Clients(max_sessions=1)
        assert clients.shakes_hands("192.0.2.1") is None
        assert clients.counts == LocalCounts()

    @given(
        limit=st.integers(1, 20),
        steps=st.lists(st.floats(0, 70, allow_nan=False), min_size=1, max_size=300),
    )
    def test_no_minute_holds_more_than_twice_the_limit_and_no_fixed_one_more_than_it(
        self, limit: int, steps: list[float]
    ) -> None:
        """What two numbers can promise of any 60 s: the estimate takes the minute before for evenly spread."""
        counts, now, admitted = LocalCounts(), 0.0, []
        for step in steps:
            now += step
            if counts.spend("rate", 1, limit, now):
                admitted.append(now)
        for since in admitted:
            assert sum(since <= time < since + WINDOW for time in admitted) <= 2 * limit
        for window in {time // WINDOW for time in admitted}:
            assert sum(time // WINDOW == window for time in admitted) <= limit


class TestRoom:
    def test_peers_without_room_are_not_counted_and_not_refused(self) -> None:
        clients = Clients(LocalCounts(table_limit=2), max_sessions=4, max_sessions_per_peer=1)
        for host in ("192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"):
            clients.opens(host)
        assert clients.counts.take("max_sessions_per_peer global", 1, 1) is Taken.UNCOUNTED
        assert clients.opens("192.0.2.4") != "max_sessions_per_peer"

    def test_what_counts_everybody_always_has_room(self) -> None:
        counts = LocalCounts(table_limit=0)
        assert counts.take("max_sessions", EVERYBODY, 1) is Taken.COUNTED
        assert counts.take("max_sessions", EVERYBODY, 1) is Taken.REFUSED

    def test_what_an_uncounted_session_held_is_not_given_back(self) -> None:
        clients = Clients(LocalCounts(table_limit=0), max_sessions_per_peer=1)
        clients.closes(clients.opens("192.0.2.1"))
        assert clients.counts == LocalCounts(table_limit=0)

    def test_peers_of_minutes_gone_by_make_room(self) -> None:
        counts = LocalCounts(table_limit=2)
        assert all(counts.spend("rate", peer, 1, 0) for peer in (1, 2))
        later = 2 * WINDOW
        assert counts.spend("rate", 3, 1, later)
        assert not counts.spend("rate", 3, 1, later)

    def test_a_full_table_is_not_searched_for_every_client(self) -> None:
        counts = LocalCounts(table_limit=1)
        assert counts.spend("rate", 1, 1, 2 * WINDOW - 0.5)
        assert [counts.spend("rate", 2, 1, 2 * WINDOW - 0.5 + wait) for wait in (0, 0.1)] == [True, True]
        # Both were let through uncounted; the first one's counter is over at last.
        late = 4 * WINDOW
        assert counts.spend("rate", 2, 1, late)
        assert not counts.spend("rate", 2, 1, late + SWEEP_INTERVAL)
