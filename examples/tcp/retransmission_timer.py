"""The retransmission timer of RFC 6298. Times are in nanoseconds."""

SECOND = 1_000_000_000
GRANULARITY = SECOND // 1000
MINIMUM, MAXIMUM = SECOND, 60 * SECOND
AFTER_SYN_LOSS = 3 * SECOND


class RetransmissionTimer:
    """A retransmission timer. Its timeout is estimated from round trips, and doubled when the timer expires.

    Attributes:
        timeout: The retransmission timeout (RTO).
        deadline: When the timer expires; None while it does not run.
        expiries: How often it expired since the last acknowledgement of new data.
    """

    def __init__(self) -> None:
        self.timeout = SECOND
        self.deadline: int | None = None
        self.expiries = 0
        self._smoothed: int | None = None
        self._variation = 0

    def start(self, now: int) -> None:
        """Start the timer, unless it runs already (section 5, rule 1)."""
        if self.deadline is None:
            self.deadline = now + self.timeout

    def restart(self, now: int) -> None:
        """Restart the timer because new data was acknowledged and more is outstanding (section 5, rule 3)."""
        self.deadline = now + self.timeout

    def stop(self) -> None:
        """Stop the timer because all data is acknowledged (section 5, rule 2)."""
        self.deadline = None

    def back_off(self, now: int) -> None:
        """Double the timeout after the timer expired, and restart the timer (section 5, rules 5 and 6)."""
        self.expiries += 1
        self.timeout = min(2 * self.timeout, MAXIMUM)
        self.restart(now)

    def measure(self, round_trip: int) -> None:
        """Update the timeout from the round trip of a segment that was sent only once (sections 2 and 3)."""
        if self._smoothed is None:
            self._smoothed, self._variation = round_trip, round_trip // 2
        else:
            self._variation += (abs(self._smoothed - round_trip) - self._variation) // 4
            self._smoothed += (round_trip - self._smoothed) // 8
        self._estimate()

    def acknowledged(self) -> None:
        """Reset a doubled timeout to its estimate, because new data was acknowledged."""
        self.expiries = 0
        if self._smoothed is not None:
            self._estimate()

    def _estimate(self) -> None:
        assert self._smoothed is not None
        estimate = self._smoothed + max(GRANULARITY, 4 * self._variation)
        self.timeout = min(max(estimate, MINIMUM), MAXIMUM)

    def established(self) -> None:
        """Reset the expiries of the handshake. If a SYN was lost, set the timeout to 3 s (section 5, rule 7)."""
        if self.expiries and self._smoothed is None:
            self.timeout = AFTER_SYN_LOSS
        self.expiries = 0
