
// The hex view: the bytes of a packet, 16 in a row, or 8 on a narrow screen; each digit is four bits.
const $ = (id) => document.getElementById(id);
const make = (tag, name = "", text = "") => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== "") made.textContent = text;
  return made;
};
const data = JSON.parse($("data").textContent);
const recording = $("recording").textContent;
const plural = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

/** Return bytes of the recording; only the base64 groups that contain them are decoded. */
function bytesAt(offset, length) {
  const first = Math.floor(offset / 3);
  const text = atob(recording.slice(first * 4, Math.ceil((offset + length) / 3) * 4));
  return Uint8Array.from(text.slice(offset - first * 3, offset - first * 3 + length), (each) => each.charCodeAt(0));
}

const bytesView = {
  element: $("bytes"),
  bytes: new Uint8Array(),
  cells: [],
  texts: [],
  cursor: 0, // in bytes
  across: 16, // bytes in a line
  layers: [],
  lit: [],
  differing: new Set(), // bytes that differ from the expected value; they keep their frame when others are highlighted
  MORE: 2048, // bytes shown at first, and added each time

  show(bytes, layers, differing) {
    this.bytes = bytes;
    this.differing = new Set(differing.flatMap(([start, bits]) => Array.from({ length: ((start + bits - 1) >> 3) - (start >> 3) + 1 }, (_, at) => (start >> 3) + at)));
    this.layers = layers;
    this.lit = [];
    this.cells = [];
    this.texts = [];
    this.cursor = 0;
    this.across = matchMedia("(max-width: 560px)").matches ? 8 : 16;
    this.element.replaceChildren();
    this.element.scrollTop = 0;
    this.grow(this.MORE);
  },

  grow(upTo) {
    this.element.querySelector(".more")?.remove();
    const end = Math.min(this.bytes.length, upTo);
    const lines = document.createDocumentFragment();
    for (let at = this.cells.length; at < end; at += this.across) lines.append(this.line(at));
    this.element.append(lines);
    const left = this.bytes.length - this.cells.length;
    if (left > 0) {
      const more = make("button", "more", `Show the other ${left.toLocaleString("en")} bytes`);
      more.type = "button";
      more.addEventListener("click", () => { this.grow(this.bytes.length); this.light(this.lit); this.element.focus(); });
      this.element.append(more);
    }
    if (!this.bytes.length) this.element.append(make("div", "nothing", "no bytes"));
  },

  line(at) {
    const line = make("div", "line");
    line.setAttribute("role", "row");
    line.append(make("span", "at", at.toString(16).padStart(4, "0")));
    const text = make("span", "text");
    text.setAttribute("aria-hidden", "true");
    for (let each = at; each < at + this.across; each++) {
      if (each === at + 8) line.append(make("span", "gap"));
      const byte = this.bytes[each];
      if (byte === undefined) {
        line.append(make("span", "x"));
        continue;
      }
      const layer = this.layers.findLastIndex((start) => start <= each);
      const differs = this.differing.has(each) ? " differs" : "";
      const cell = make("span", (layer < 0 ? "x" : `x l${layer % 4}`) + differs, byte.toString(16).padStart(2, "0"));
      if (differs) cell.setAttribute("aria-label", `${cell.textContent}, differs from the expected value`);
      cell.dataset.at = each;
      cell.id = `o${each}`;
      cell.setAttribute("role", "gridcell");
      const letter = make("span", cell.className.replace("x", "a"), byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·");
      letter.dataset.at = each;
      this.cells[each] = cell;
      this.texts[each] = letter;
      line.append(cell);
      text.append(letter);
    }
    line.append(text);
    return line;
  },

  /** Highlight the digits that contain any of these bits. */
  light(ranges, scroll) {
    for (const cell of this.element.querySelectorAll(".high, .low, .lit")) cell.classList.remove("high", "low", "lit");
    this.lit = ranges;
    const [first] = ranges;
    if (scroll && first?.[1]) this.move(first[0] >> 3);
    for (const [start, bits] of ranges) {
      const last = start + bits - 1;
      for (let at = start >> 3; bits && at <= last >> 3 && at < this.cells.length; at++) {
        this.cells[at].classList.toggle("high", start < at * 8 + 4);
        this.cells[at].classList.toggle("low", last >= at * 8 + 4);
        this.texts[at].classList.add("lit");
      }
    }
  },

  move(at) {
    at = Math.max(0, Math.min(this.bytes.length - 1, at));
    if (at >= this.cells.length) this.grow(at + this.MORE);
    this.cells[this.cursor]?.classList.remove("cursor");
    const cell = this.cells[at];
    if (!cell) return;
    this.cursor = at;
    cell.classList.add("cursor");
    this.element.setAttribute("aria-activedescendant", cell.id);
    scrollIntoElement(this.element, cell);
  },

  /** Return the bits of the byte under the pointer: the left half of a cell is the upper four. */
  bitsOf(event) {
    const cell = event.target.closest("[data-at]");
    if (!cell) return null;
    const at = Number(cell.dataset.at);
    if (cell.classList.contains("a")) return [at * 8, 8];
    const box = cell.getBoundingClientRect();
    return [at * 8 + (event.clientX < box.left + box.width / 2 ? 0 : 4), 4];
  },
};

/** Scroll a child of an element into view, without scrolling the page. */
function scrollIntoElement(element, child) {
  const outer = element.getBoundingClientRect();
  const inner = child.getBoundingClientRect();
  if (inner.top < outer.top + 4) element.scrollTop += inner.top - outer.top - 4;
  else if (inner.bottom > outer.bottom - 4) element.scrollTop += inner.bottom - outer.bottom + 4;
}
