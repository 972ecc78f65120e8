"""JavaScript expressions that read what the HTML report shows: rows, selected packet, highlighted fields and bytes."""

ROWS = "[...document.querySelectorAll('#list .row')]"
CHOSEN = "document.querySelector('#list .row[aria-selected=true] .number').textContent"
LIT_FIELDS = "[...document.querySelectorAll('#tree .item.lit .name')].map((each) => each.textContent)"
# The query returns the highlighted hex digits: "33hl" is byte 33 with both digits (high, low), "32l" only the low one.
LIT_BYTES = (
    "[...document.querySelectorAll('#bytes .x.high, #bytes .x.low')]"
    ".map((each) => each.dataset.at + ['high', 'low'].filter((half) => each.classList.contains(half))"
    ".map((half) => half[0]).join(''))"
)
FOCUSED = "document.activeElement.id"


def digits(row):
    """Return the value that LIT_BYTES has if exactly the bits of this field are highlighted."""
    found = []
    for at in range(row.start // 8, -(-(row.start + row.bits) // 8)):
        high = row.start < at * 8 + 4 and row.start + row.bits > at * 8
        low = row.start < at * 8 + 8 and row.start + row.bits > at * 8 + 4
        found.append(f"{at}{'h' * high}{'l' * low}")
    return found
