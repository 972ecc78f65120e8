
// Octets: those of a packet, taken from the recording, in rows of sixteen, of eight where there is little room, a digit for each four bits.
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

/** Octets from offset on: of the recording's base64 only the groups that hold them are decoded. */
function octetsAt(offset, length) {
  const first = Math.floor(offset / 3);
  const text = atob(recording.slice(first * 4, Math.ceil((offset + length) / 3) * 4));
  return Uint8Array.from(text.slice(offset - first * 3, offset - first * 3 + length), (each) => each.charCodeAt(0));
}

const octetsView = {
  element: $("octets"),
  octets: new Uint8Array(),
  cells: [],
  texts: [],
  cursor: 0, // in octets
  across: 16, // octets in a line
  layers: [],
  lit: [],
  differing: new Set(), // octets that are not as wanted: framed, whatever is lit
  MORE: 2048, // octets shown at first, and at each time after

  show(octets, layers, differing) {
    this.octets = octets;
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
    const end = Math.min(this.octets.length, upTo);
    const lines = document.createDocumentFragment();
    for (let at = this.cells.length; at < end; at += this.across) lines.append(this.line(at));
    this.element.append(lines);
    const left = this.octets.length - this.cells.length;
    if (left > 0) {
      const more = make("button", "more", `Show the other ${left.toLocaleString("en")} octets`);
      more.type = "button";
      more.addEventListener("click", () => { this.grow(this.octets.length); this.light(this.lit); this.element.focus(); });
      this.element.append(more);
    }
    if (!this.octets.length) this.element.append(make("div", "nothing", "no octets"));
  },

  line(at) {
    const line = make("div", "line");
    line.setAttribute("role", "row");
    line.append(make("span", "at", at.toString(16).padStart(4, "0")));
    const text = make("span", "text");
    text.setAttribute("aria-hidden", "true");
    for (let each = at; each < at + this.across; each++) {
      if (each === at + 8) line.append(make("span", "gap"));
      const octet = this.octets[each];
      if (octet === undefined) {
        line.append(make("span", "x"));
        continue;
      }
      const layer = this.layers.findLastIndex((start) => start <= each);
      const differs = this.differing.has(each) ? " differs" : "";
      const cell = make("span", (layer < 0 ? "x" : `x l${layer % 4}`) + differs, octet.toString(16).padStart(2, "0"));
      if (differs) cell.setAttribute("aria-label", `${cell.textContent}, not as wanted`);
      cell.dataset.at = each;
      cell.id = `o${each}`;
      cell.setAttribute("role", "gridcell");
      const letter = make("span", cell.className.replace("x", "a"), octet > 31 && octet < 127 ? String.fromCharCode(octet) : "·");
      letter.dataset.at = each;
      this.cells[each] = cell;
      this.texts[each] = letter;
      line.append(cell);
      text.append(letter);
    }
    line.append(text);
    return line;
  },

  /** Light the digits that hold any of these bits, of the octets that are shown. */
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
    at = Math.max(0, Math.min(this.octets.length - 1, at));
    if (at >= this.cells.length) this.grow(at + this.MORE);
    this.cells[this.cursor]?.classList.remove("cursor");
    const cell = this.cells[at];
    if (!cell) return;
    this.cursor = at;
    cell.classList.add("cursor");
    this.element.setAttribute("aria-activedescendant", cell.id);
    within(this.element, cell);
  },

  /** The octet's bits that an event points at: the left half of a cell is the upper four. */
  bitsOf(event) {
    const cell = event.target.closest("[data-at]");
    if (!cell) return null;
    const at = Number(cell.dataset.at);
    if (cell.classList.contains("a")) return [at * 8, 8];
    const box = cell.getBoundingClientRect();
    return [at * 8 + (event.clientX < box.left + box.width / 2 ? 0 : 4), 4];
  },
};

/** Scroll an element's child into its view, and nothing else. */
function within(element, child) {
  const outer = element.getBoundingClientRect();
  const inner = child.getBoundingClientRect();
  if (inner.top < outer.top + 4) element.scrollTop += inner.top - outer.top - 4;
  else if (inner.bottom > outer.bottom - 4) element.scrollTop += inner.bottom - outer.bottom + 4;
}
