
// The packet list with the ladder; only rows in view are in the document.
const SVG = "http://www.w3.org/2000/svg";
const draw = (tag, attributes, text = "") => {
  const drawn = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) drawn.setAttribute(name, value);
  if (text) drawn.textContent = text;
  return drawn;
};
const seconds = (nanoseconds) => (nanoseconds / 1e9).toFixed(6);

/** Return the device of a packet and its direction, or the devices that received it. */
const route = ([, , , , device, direction, , , , , , , , , , received]) => {
  const there = received.map((number) => data.texts[data.packets[number][4]]).join(", ");
  return [data.texts[device], there ? `→ ${there}` : direction].filter(Boolean).join(" ");
};

/** Describe a difference. */
const differenceText = ([field, wanted, got]) => `${field}: wanted ${wanted}, got ${got}`;

const packetsView = {
  element: $("list"),
  scroll: $("scroll"),
  shown: data.rows,
  texts: null, // for the filter, built on first use
  chosen: -1, // a packet's number, from 0
  drawn: new Map(),
  all: false, // for printing

  measure() {
    const style = getComputedStyle(document.documentElement);
    this.height = parseInt(style.getPropertyValue("--row"), 10);
    const columns = data.columns.length;
    const [narrow, tight] = [900, 560].map((width) => matchMedia(`(max-width: ${width}px)`).matches);
    // The ladder grows with its columns, but leaves room for the packet's text.
    const [least, most] = tight ? [100, this.scroll.clientWidth - 220] : narrow ? [110, this.scroll.clientWidth - 320] : [200, this.scroll.clientWidth - 560];
    this.width = Math.max(least, Math.min(most, columns * (tight ? 42 : narrow ? 60 : 104)));
    document.documentElement.style.setProperty("--ladder", `${this.width}px`);
    this.columns = data.columns.map((_, at) => Math.round(((at + 0.5) / columns) * this.width));
    if (columns === 2) this.columns = narrow ? [20, this.width - 24] : [38, this.width - 38];
    this.head();
    this.refresh();
  },

  head() {
    const ladder = draw("svg", { width: this.width, height: 34 });
    const y = data.columns.some(([, below]) => below) ? 14 : 21;
    const letters = Math.max(3, Math.floor(this.width / data.columns.length / 7));
    data.columns.forEach(([title, below], at) => {
      const address = /^\d/.test(title);
      const cut = !address && title.length > letters ? `${title.slice(0, letters - 1)}…` : title;
      const name = draw("text", { x: this.columns[at], y, class: address ? "end address" : "end" }, cut);
      if (cut !== title) name.append(draw("title", {}, title));
      ladder.append(name);
      if (below) ladder.append(draw("text", { x: this.columns[at], y: 28, class: "below" }, below));
    });
    $("head").replaceChildren(make("span", "", "No."), make("span", "", "Time, s"), ladder, make("span", "description", "Packet"));
  },

  refresh() {
    this.element.style.height = `${this.shown.length * this.height}px`;
    for (const row of this.drawn.values()) row.remove();
    this.drawn.clear();
    this.element.querySelector(".nothing")?.remove();
    const all = data.rows.length;
    if (!this.shown.length) this.element.append(make("div", "nothing", all ? "No packet matches the filter." : "No packet was recorded."));
    const count = this.shown.length === all ? plural(all, "packet") : `${this.shown.length} of ${plural(all, "packet")}`;
    $("count").textContent = count;
    this.draw();
  },

  /** Add the rows in view, and remove rows far from it. */
  draw() {
    const spare = 12;
    let first = Math.max(0, Math.floor((this.scroll.scrollTop - 36) / this.height) - spare);
    let last = Math.min(this.shown.length, Math.ceil((this.scroll.scrollTop + this.scroll.clientHeight) / this.height) + spare);
    if (this.all) [first, last] = [0, Math.min(this.shown.length, 2000)];
    for (const [at, row] of this.drawn) {
      if (at < first || at >= last) { row.remove(); this.drawn.delete(at); }
    }
    const added = document.createDocumentFragment();
    for (let at = first; at < last; at++) {
      if (this.drawn.has(at)) continue;
      const row = this.row(at);
      this.drawn.set(at, row);
      added.append(row);
    }
    this.element.append(added);
  },

  row(at) {
    const number = this.shown[at];
    const [, , , time, , direction, from, to, summary, comment, lost, findings, , , differing] = data.packets[number];
    const before = at ? data.packets[this.shown[at - 1]][3] : null;
    const arrowClass = to === null ? "none" : !direction ? "" : to.length && to[0] < from ? "out" : "in";
    const row = make("div", `row ${findings.length ? "bad " : ""}${arrowClass}`);
    row.id = `p${number}`;
    row.dataset.at = at;
    row.style.top = `${at * this.height}px`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", number === this.chosen);
    row.setAttribute("aria-posinset", at + 1);
    row.setAttribute("aria-setsize", this.shown.length);
    const when = make("span", "time", time === null ? "" : seconds(time));
    if (time !== null && before !== null) when.append(make("small", "", `${time < before ? "−" : "+"}${seconds(Math.abs(time - before))}`));
    const description = make("div", "description");
    const line = make("div", "summary", summary);
    line.title = summary;
    description.append(line);
    const details = make("div", "details");
    const parts = [make("span", "device", route(data.packets[number]))];
    if (to && !to.length) parts.push(make("em", "", "✗ not received"));
    if (to?.length && from < 0) parts.push(make("span", "", "sender not recorded"));
    for (const difference of differing) parts.push(make("em", "", `≠ ${differenceText(difference)}`));
    if (lost) parts.push(make("em", "", `${plural(lost, "packet")} lost before it`));
    for (const finding of findings) parts.push(make("em", "", `⚠ ${finding}`));
    if (comment) parts.push(make("span", "", comment.replaceAll("\n", " · ")));
    parts.forEach((part, place) => { if (part.textContent) details.append(place && details.childNodes.length ? " · " : "", part); });
    details.title = details.textContent;
    description.append(details);
    row.append(make("span", "number", String(number + 1)), when, this.step(from, to, findings.length), description);
    return row;
  },

  /** Draw one row of the ladder: a vertical line per column, and the packet's arrow between two of them. */
  step(from, to, suspicious) {
    const { height, width } = this;
    const gap = Math.min(34, (this.columns[1] ?? width) - this.columns[0] - 12);
    const middle = Math.round(height / 2);
    const svg = draw("svg", { width, height, class: "step", "aria-hidden": "true" });
    for (const x of this.columns) svg.append(draw("line", { class: "life", x1: x, x2: x, y1: 0, y2: height }));
    if (to === null) {
      svg.append(draw("path", { class: "arrow", d: `M4 ${middle}H${width - 4}` }));
      return svg;
    }
    // Without a recorded sender the arrow starts at the side; without a receiver it is a short line and a cross.
    const aside = (at) => this.columns[at] + (at ? gap : -gap);
    const x1 = from < 0 ? aside(to[0]) : this.columns[from];
    if (from >= 0) svg.append(draw("circle", { class: "point", cx: x1, cy: middle, r: 3 }));
    for (const target of to) {
      const x2 = this.columns[target];
      if (target === from) {
        svg.append(draw("path", { class: "arrow", d: `M${x1} ${middle - 7}h18v14h-12` }));
        svg.append(draw("path", { class: "point", d: `M${x1 + 1} ${middle + 7}l9 -4v8z` }));
        continue;
      }
      const right = x2 > x1 ? 1 : -1;
      svg.append(draw("path", { class: "arrow", d: `M${x1} ${middle}H${x2 - right * 8}` }));
      svg.append(draw("path", { class: "point", d: `M${x2 - right} ${middle}l${-right * 10} -5v10z` }));
    }
    if (!to.length) {
      const x = x1 + (from < this.columns.length - 1 || !from ? gap : -gap);
      svg.append(draw("path", { class: "arrow", d: `M${x1} ${middle}H${x}` }));
      svg.append(draw("path", { class: "cross", d: `M${x - 5} ${middle - 5}l10 10m0 -10l-10 10` }));
    }
    if (suspicious && to.length && to[0] !== from) {
      const x = (x1 + this.columns[to[0]]) / 2;
      svg.append(draw("path", { class: "sign", d: `M${x} ${middle - 9}l10 17h-20z` }));
      svg.append(draw("text", { class: "sign-text", x, y: middle + 6 }, "!"));
    }
    return svg;
  },

  choose(number) {
    if (!data.packets[number]) return;
    this.rowElement(this.chosen)?.setAttribute("aria-selected", "false");
    this.chosen = number;
    const at = this.shown.indexOf(number);
    if (at >= 0) {
      const top = at * this.height;
      const room = this.scroll.clientHeight - 36;
      if (top < this.scroll.scrollTop) this.scroll.scrollTop = top;
      else if (top + this.height > this.scroll.scrollTop + room) this.scroll.scrollTop = top + this.height - room;
      this.draw();
      this.rowElement(number)?.setAttribute("aria-selected", "true");
      this.element.setAttribute("aria-activedescendant", `p${number}`);
    } else this.element.removeAttribute("aria-activedescendant");
    showPacket(number);
  },

  rowElement(number) {
    return this.drawn.get(this.shown.indexOf(number));
  },

  /** Move by a number of rows, or to the first row if none is chosen. */
  stepBy(by) {
    if (!this.shown.length) return;
    const at = this.shown.indexOf(this.chosen);
    this.choose(this.shown[Math.max(0, Math.min(this.shown.length - 1, at < 0 ? 0 : at + by))]);
  },

  filter(text, suspicious) {
    this.texts ??= data.packets.map((packet, number) => [number + 1, route(packet), packet[5], packet[8], packet[9], packet[11].join(" "), packet[14].map(differenceText).join(" ")].join(" ").toLowerCase());
    const words = text.toLowerCase().split(/\s+/).filter((word) => word && word !== "-");
    this.shown = data.rows.filter((number) => {
      if (suspicious && !data.packets[number][11].length) return false;
      return words.every((word) => (word[0] === "-" ? !this.texts[number].includes(word.slice(1)) : this.texts[number].includes(word)));
    });
    this.scroll.scrollTop = 0;
    this.refresh();
    if (this.shown.length) this.choose(this.shown.includes(this.chosen) ? this.chosen : this.shown[0]);
  },
};
