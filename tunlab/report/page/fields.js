
// The field tree of the packet; a field and its bytes are highlighted together.
const fieldsView = {
  element: $("tree"),
  rows: [],
  cursor: -1,
  lit: [], // rows highlighted by a click or a key, until the next; pointing at others highlights those for the moment
  places: null, // highlighted bits; null for all bits of these rows

  show(packet) {
    const [, , , , , , , , , , , , tree, notes, differing] = packet;
    const wanted = new Map();
    for (const [, text, , rows] of differing) for (const row of rows) wanted.set(row, wanted.has(row) ? `${wanted.get(row)}; ${text}` : text);
    const noted = new Map();
    for (let at = 0; at < notes.length; at += 2) noted.set(notes[at], data.texts[notes[at + 1]]);
    this.rows = [];
    for (let at = 0; at < tree.length; at += 2) {
      const [depth, name, start, bits, folded] = data.labels[tree[at]];
      const number = at / 2;
      this.rows.push({ number, depth, name, start, bits, open: !folded, value: data.texts[tree[at + 1]], note: noted.get(number), wanted: wanted.get(number) });
    }
    this.rows.forEach((row, number) => {
      row.parent = null;
      for (let at = number - 1; at >= 0 && row.depth; at--) {
        if (this.rows[at].depth < row.depth) { row.parent = this.rows[at]; break; }
      }
      row.last = (this.rows[number + 1]?.depth ?? -1) <= row.depth;
    });
    this.cursor = -1;
    this.lit = [];
    this.places = null;
    this.parts = differing.flatMap(([, , , , places]) => places);
    this.element.replaceChildren(...this.rows.map((row) => this.item(row)));
    this.element.removeAttribute("aria-activedescendant");
    this.element.scrollTop = 0;
    this.fold();
  },

  item(row) {
    const item = make("div", `item${row.depth ? "" : " header"}${row.wanted === undefined ? "" : " differs"}`);
    item.id = `f${row.number}`;
    item.dataset.row = row.number;
    item.setAttribute("role", "treeitem");
    item.setAttribute("aria-level", row.depth + 1);
    item.style.setProperty("--depth", row.depth);
    const marker = make("span", "marker");
    marker.setAttribute("aria-hidden", "true");
    item.append(marker, make("span", "name", row.name), make("span", "value", row.value));
    if (row.wanted !== undefined) item.append(make("span", "wanted", `wanted ${row.wanted}`));
    if (row.note) item.append(make("span", "note", row.note));
    row.item = item;
    row.marker = marker;
    return item;
  },

  fold() {
    for (const row of this.rows) {
      row.hidden = row.parent !== null && (row.parent.hidden || !row.parent.open);
      row.item.hidden = row.hidden;
      if (row.last) continue;
      row.item.setAttribute("aria-expanded", row.open);
      row.marker.textContent = row.open ? "▼" : "▶";
    }
  },

  toggle(row, open) {
    row.open = open;
    this.fold();
  },

  reveal(row) {
    for (let each = row.parent; each; each = each.parent) each.open = true;
    this.fold();
  },

  /** Highlight rows and their bytes; with `keep`, until the next click or key. */
  light(rows, { keep = false, scroll = false, places = null } = {}) {
    if (keep) [this.lit, this.places] = [rows, places];
    for (const item of this.element.querySelectorAll(".lit")) item.classList.remove("lit");
    for (const row of rows) row.item.classList.add("lit");
    bytesView.light(places ?? rows.map((row) => [row.start, row.bits]), scroll);
    showFieldInfo(rows);
  },

  restore() {
    this.light(this.lit, { places: this.places });
  },

  move(number, options = {}) {
    const row = this.rows[number];
    if (!row) return;
    this.rows[this.cursor]?.item.classList.remove("cursor");
    this.rows[this.cursor]?.item.removeAttribute("aria-selected");
    this.cursor = number;
    row.item.classList.add("cursor");
    row.item.setAttribute("aria-selected", "true");
    this.element.setAttribute("aria-activedescendant", row.item.id);
    this.reveal(row);
    scrollIntoElement(this.element, row.item);
    this.light([row], { keep: true, scroll: true, ...options });
  },

  /** Highlight all fields that differ, with the cursor on the first. Return false if there is none. */
  differing() {
    const rows = this.rows.filter((row) => row.wanted !== undefined);
    for (const row of rows) this.reveal(row);
    if (!rows.length) return false;
    this.move(rows[0].number);
    this.light(rows, { keep: true, scroll: true, places: this.parts });
    const [box, first] = [this.element, rows[0].item].map((each) => each.getBoundingClientRect());
    this.element.scrollTop += first.top - box.top - box.height / 3; // with some rows above it
    return true;
  },

  /** Go to the next field that differs; after the last comes the first. */
  nextDiffering() {
    const rows = this.rows.filter((row) => row.wanted !== undefined);
    this.move((rows.find((row) => row.number > this.cursor) ?? rows[0])?.number);
    if (rows.length) this.element.focus();
  },

  step(by) {
    let at = this.cursor + by;
    while (this.rows[at]?.hidden) at += by;
    if (this.rows[at]) this.move(at);
  },

  /** Return the innermost rows that have any of these bits; several if the bits belong to several fields. */
  covering(start, bits) {
    const some = this.rows.filter((row) => row.bits && row.start < start + bits && start < row.start + row.bits);
    return some.filter((row) => !some.some((other) => other.parent === row && !(row.name === "flags" && !row.open)) && !(row.parent?.name === "flags" && !row.parent.open));
  },
};

/** Describe the highlighted field, with its bits. */
function showFieldInfo(rows) {
  const line = $("field-info");
  line.replaceChildren();
  if (!rows.length) {
    line.append(make("span", "", "Point at a field or a byte."));
    return;
  }
  const parts = rows.slice(0, 3).map((row) => {
    const path = row.parent && row.depth ? `${top(row).name}.${row.name}` : row.name;
    return `${path}${row.value ? ` = ${row.value}` : ""}${row.wanted === undefined ? "" : `, wanted ${row.wanted}`}`;
  });
  if (rows.length > 3) parts.push("…");
  line.append(make("code", "", parts.join(rows.some((row) => row.wanted !== undefined) ? "; " : ", ")));
  const [row] = rows;
  if (rows.length > 1 || !row.bits) return;
  const last = row.start + row.bits - 1;
  const [from, to] = [row.start >> 3, last >> 3];
  const whole = row.start % 8 === 0 && row.bits % 8 === 0;
  const place = from === to ? `byte ${from}` : `bytes ${from}–${to}`;
  const bits = whole ? "" : `, ${row.bits === 1 ? `bit ${row.start % 8}` : `bits ${row.start % 8}–${last - from * 8}`}`;
  line.append(make("span", "", ` · ${place}${bits} · `));
  if (to - from > 3) {
    line.append(make("span", "", plural(to - from + 1, "byte")));
    return;
  }
  const binary = make("code");
  let text = "";
  for (let at = from; at <= to; at++) text += (bytesView.bytes[at] ?? 0).toString(2).padStart(8, "0");
  const begin = row.start - from * 8;
  binary.append(text.slice(0, begin), make("b", "", text.slice(begin, begin + row.bits)), text.slice(begin + row.bits));
  line.append(binary);
}

function top(row) {
  let each = row;
  // Only names of headers start with a capital letter (IPv4, TCP), also those of a quoted packet.
  while (each.parent && !/^[A-Z]/.test(each.parent.name)) each = each.parent;
  return each.parent ?? each;
}
