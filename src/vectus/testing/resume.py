"""What every resume store must do: suites to inherit from, for our stores and for yours.

They know the contract only; where a store keeps things must never matter here. They run under
pytest::

    class TestMyStore(ResumeSuite, ClaimsSuite):
        @pytest.fixture
        def store(self):
            return MyStore("localhost")

        @pytest.fixture
        def other(self):
            return MyStore("localhost")

``ClaimsSuite`` is for a store whose entries can be claimed; its claims need not outlast a test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from vectus.client.contracts import Claims, Entry, ResumeStore

FILM = "size:1000--md5:398533d48111e9f664b1f64cb10c4b63"
BOOK = "another fingerprint"

BARE = Entry("https://host/files/1")
FULL = Entry(
    "https://host/files/2?key=a%20b&c=\u00e9",
    length=2**53 + 1,
    created=1795430000.123456,
    extra={"parts": "https://host/files/3 https://host/files/4", "": "", "\u00e9": '"\n\x00\u2028'},
)

STRANGE = {
    "empty": "",
    "path": "../../etc/passwd",
    "absolute path": "/",
    "quotes": "'\"; DROP TABLE uploads; --",
    "lines": "a\r\n\tb\x00c",
    "pattern": "*?[a]%_",
    "wide": "\U0001f4be \u00e9 e\u0301",
    "no text": "film-\udcff.mp4",
    "long": "x" * 10_000,
}
"""Fingerprints that a caller's own function may come up with."""

LIMIT = 30.0
"""Seconds that all threads of a test may take together."""


def run_all(tasks: Iterable[Callable[[], None]]) -> None:
    """Run each task in a thread of its own, and hand on what the first that fails raises."""
    works = list(tasks)
    with ThreadPoolExecutor(len(works)) as pool:
        for running in [pool.submit(task) for task in works]:
            running.result(LIMIT)


class Room:
    """Counts who is inside at a time, and remembers the most there were."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self.most = 0
        self.turns = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            self.turns += 1
            self.most = max(self.most, self._inside)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1


def claims(store: object) -> Claims:
    """Return a store as one whose entries can be claimed."""
    assert isinstance(store, Claims)
    return store


def is_free(store: object, fingerprint: str = FILM) -> bool:
    """Say whether an entry can be claimed just now, in another thread at that."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_can_claim, store, fingerprint).result(LIMIT)


def _can_claim(store: object, fingerprint: str) -> bool:
    with claims(store).claim(fingerprint) as claim:
        return claim is not None


class _Stores:
    """A subclass gives the fixture ``store``; and ``other``, another store of the same entries,
    where there can be one."""

    @pytest.fixture
    def store(self) -> ResumeStore:
        """Give the store under test."""
        raise NotImplementedError

    @pytest.fixture
    def other(self, store: ResumeStore) -> ResumeStore:
        """Give a second store that shares the first one's entries."""
        return store

    @pytest.fixture
    def both(self, store: ResumeStore, other: ResumeStore) -> Sequence[ResumeStore]:
        """Give the two of them."""
        return store, other


class ResumeSuite(_Stores):
    """The promises of ``vectus.client.contracts.ResumeStore``, one test for each."""

    def test_nothing_is_known(self, store: ResumeStore) -> None:
        """Of a source nobody stored, nothing is known."""
        assert store.get(FILM) is None

    @pytest.mark.parametrize("entry", [BARE, FULL], ids=["bare", "full"])
    def test_what_was_set_is_got(self, both: Sequence[ResumeStore], entry: Entry) -> None:
        """An entry comes back as it was stored, from another store as well."""
        both[0].set(FILM, entry)

        assert [store.get(FILM) for store in both] == [entry, entry]

    @pytest.mark.parametrize("entry", [BARE, FULL], ids=["bare", "full"])
    def test_the_newest_counts(self, both: Sequence[ResumeStore], entry: Entry) -> None:
        """A new entry replaces the old one, and nothing of the old one is left."""
        both[0].set(FILM, FULL if entry is BARE else BARE)
        both[1].set(FILM, entry)

        assert [store.get(FILM) for store in both] == [entry, entry]

    def test_what_was_removed_is_gone(self, both: Sequence[ResumeStore]) -> None:
        """A removed entry is known nowhere; another can be stored in its place."""
        both[0].set(FILM, FULL)
        both[1].remove(FILM)
        assert [store.get(FILM) for store in both] == [None, None]

        both[0].set(FILM, BARE)
        assert [store.get(FILM) for store in both] == [BARE, BARE]

    def test_removing_nothing(self, store: ResumeStore) -> None:
        """What is not there can be removed as often as one likes."""
        store.remove(FILM)
        store.set(FILM, BARE)
        store.remove(FILM)
        store.remove(FILM)

        assert store.get(FILM) is None

    def test_entries_do_not_know_each_other(self, store: ResumeStore) -> None:
        """What happens to one entry does not touch another."""
        store.set(FILM, FULL)
        store.set(BOOK, BARE)
        assert (store.get(FILM), store.get(BOOK)) == (FULL, BARE)

        store.remove(FILM)
        assert (store.get(FILM), store.get(BOOK)) == (None, BARE)

    @pytest.mark.parametrize("fingerprint", STRANGE.values(), ids=STRANGE)
    def test_any_text_is_a_fingerprint(self, store: ResumeStore, fingerprint: str) -> None:
        """Whatever a source is known by, it is told from all others."""
        for number, each in enumerate(STRANGE.values()):
            store.set(each, Entry(f"https://host/files/{number}"))
        place = list(STRANGE.values()).index(fingerprint)
        assert store.get(fingerprint) == Entry(f"https://host/files/{place}")

        store.remove(fingerprint)
        known = [store.get(each) is not None for each in STRANGE.values()]
        assert known == [each != fingerprint for each in STRANGE.values()]

    def test_nobody_changes_what_is_stored(self, store: ResumeStore) -> None:
        """Neither who stored an entry nor who got one can change it afterwards."""
        mine = Entry("https://host/files/1", extra={"kept": "yes"})
        store.set(FILM, mine)
        mine.extra["kept"] = "no"
        got = store.get(FILM)
        assert got is not None
        assert got.extra == {"kept": "yes"}

        got.extra.clear()
        assert store.get(FILM) == Entry("https://host/files/1", extra={"kept": "yes"})

    def test_many_threads(self, both: Sequence[ResumeStore]) -> None:
        """Threads that store, forget and ask at once lose nothing of each other's."""

        def work(store: ResumeStore, name: str) -> None:
            for number in range(10):
                mine = f"{name}-{number}"
                store.set(mine, Entry(f"https://host/{mine}"))
                assert store.get(mine) == Entry(f"https://host/{mine}")
                if number % 2:
                    store.remove(mine)

        run_all(partial(work, both[n % 2], str(n)) for n in range(6))

        for name in range(6):
            known = [both[0].get(f"{name}-{number}") is not None for number in range(10)]
            assert known == [True, False] * 5

    def test_an_entry_is_whole(self, both: Sequence[ResumeStore]) -> None:
        """Whoever asks while others store gets one of the entries, never a mix of two."""
        store, other = both
        store.set(FILM, FULL)

        def write() -> None:
            for number in range(20):
                store.set(FILM, BARE if number % 2 else FULL)

        def read() -> None:
            for _ in range(40):
                assert other.get(FILM) in (BARE, FULL)

        run_all([write, read, read])


class ClaimsSuite(_Stores):
    """The promises of ``vectus.client.contracts.Claims``, one test for each."""

    def test_one_at_a_time(self, both: Sequence[ResumeStore]) -> None:
        """A claimed entry is nobody else's until the claim is released."""
        for store in both:
            with claims(store).claim(FILM) as claim:
                assert claim is not None
                assert [is_free(any_) for any_ in both] == [False, False]
            assert [is_free(any_) for any_ in both] == [True, True]

    def test_the_same_thread(self, both: Sequence[ResumeStore]) -> None:
        """Whoever holds a claim cannot have it twice."""
        with claims(both[0]).claim(FILM):
            for store in both:
                with claims(store).claim(FILM) as second:
                    assert second is None

    def test_it_stays_ours(self, both: Sequence[ResumeStore]) -> None:
        """A claim that is renewed is ours, however often that is done."""
        with claims(both[0]).claim(FILM) as claim:
            assert claim is not None
            assert [claim.renew() for _ in range(1000)] == [True] * 1000
            assert not is_free(both[1])

    def test_who_was_refused_frees_nothing(self, both: Sequence[ResumeStore]) -> None:
        """The end of a claim that was not had does not touch the one that was."""
        with claims(both[0]).claim(FILM):
            for _ in range(3):
                assert [is_free(store) for store in both] == [False, False]

    def test_a_failure_frees(self, both: Sequence[ResumeStore]) -> None:
        """An exception passes through unchanged and releases the claim."""
        with pytest.raises(ZeroDivisionError), claims(both[0]).claim(FILM):
            raise ZeroDivisionError

        assert [is_free(store) for store in both] == [True, True]

    def test_claims_do_not_know_each_other(self, both: Sequence[ResumeStore]) -> None:
        """Different entries can be claimed at the same time."""
        with claims(both[0]).claim(FILM) as first, claims(both[1]).claim(BOOK) as second:
            assert first is not None
            assert second is not None
            assert is_free(both[0], "a third")

    @pytest.mark.parametrize("fingerprint", STRANGE.values(), ids=STRANGE)
    def test_any_text_can_be_claimed(self, both: Sequence[ResumeStore], fingerprint: str) -> None:
        """Whatever a source is known by, it can be claimed, and nothing else is with it."""
        with claims(both[0]).claim(fingerprint) as claim:
            assert claim is not None
            free = [is_free(both[1], each) for each in STRANGE.values()]
            assert free == [each != fingerprint for each in STRANGE.values()]

    def test_entries_are_not_touched(self, both: Sequence[ResumeStore]) -> None:
        """Claims say who uses an entry; they keep nobody from reading, storing and forgetting."""
        store, other = both
        with claims(store).claim(FILM):
            assert other.get(FILM) is None
            other.set(FILM, FULL)
            assert store.get(FILM) == FULL
            other.remove(FILM)
            assert not is_free(other)
            store.set(FILM, BARE)

        assert other.get(FILM) == BARE

    def test_many_threads_claim(self, both: Sequence[ResumeStore]) -> None:
        """Of many threads that try again and again, one at a time has the claim."""
        room = Room()

        def work(store: ResumeStore) -> None:
            for _ in range(100):
                with claims(store).claim(FILM) as claim:
                    if claim is not None:
                        with room:
                            claim.renew()

        run_all(partial(work, both[n % 2]) for n in range(4))

        assert room.most == 1
        assert is_free(both[0])
