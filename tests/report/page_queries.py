"""Expressions that tell, inside the page, what it shows."""

ROWS = "[...document.querySelectorAll('#list .row')]"
CHOSEN = "document.querySelector('#list .row[aria-selected=true] .number').textContent"
LIT_FIELDS = "[...document.querySelectorAll('#tree .item.lit .name')].map((each) => each.textContent)"
# Each octet as its number, and which of its two digits are lit.
LIT_OCTETS = (
    "[...document.querySelectorAll('#octets .x.high, #octets .x.low')]"
    ".map((each) => each.dataset.at + ['high', 'low'].filter((half) => each.classList.contains(half))"
    ".map((half) => half[0]).join(''))"
)
FOCUSED = "document.activeElement.id"


def digits(row):
    """What LIT_OCTETS is for a row alone."""
    found = []
    for at in range(row.start // 8, -(-(row.start + row.bits) // 8)):
        high = row.start < at * 8 + 4 and row.start + row.bits > at * 8
        low = row.start < at * 8 + 8 and row.start + row.bits > at * 8 + 4
        found.append(f"{at}{'h' * high}{'l' * low}")
    return found
