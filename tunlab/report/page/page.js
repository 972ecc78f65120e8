
// The page: selection, keys, theme, help, saving, printing.
function showPacket(number) {
  const packet = data.packets[number];
  const [offset, length, wire, time, device, direction, , to, summary, comment, lost, findings, , , differing, received, forwarded] = packet;
  const about = $("about");
  const first = make("p");
  first.append(make("strong", "", `Packet ${number + 1}`));
  const facts = [time === null ? "" : `${seconds(time)} s`, [data.texts[device], direction].filter(Boolean).join(" "), length === wire ? plural(length, "byte") : `${length} of ${plural(wire, "byte")}`];
  first.append(make("span", "soft", ` · ${facts.filter(Boolean).join(" · ")}`));
  about.replaceChildren(first);
  for (const later of [...received, ...forwarded].sort((one, other) => one - other)) {
    const [, , , laterTime, laterDevice, laterDirection, , , , laterComment] = data.packets[later];
    const facts = [`${data.texts[laterDevice]} ${laterDirection}`, time === null ? "" : `${((laterTime - time) / 1000).toFixed(1)} µs later`, `No. ${later + 1} of the recording`, laterComment];
    about.append(make("p", "soft", facts.filter(Boolean).join(" · ")));
  }
  if (to && !to.length) about.append(make("p", "soft", "No recorded device received it."));
  if (comment) about.append(make("p", "comment", comment));
  if (lost) about.append(make("p", "soft", `${plural(lost, "packet")} lost before it`));
  fieldsView.show(packet);
  const layers = fieldsView.rows.filter((row) => !row.depth && row.bits).map((row) => row.start >> 3);
  bytesView.show(bytesAt(offset, length), layers, fieldsView.parts);
  about.title = summary;
  const noted = fieldsView.rows.filter((row) => row.note);
  const issues = [
    ...differing.map((each) => ["differing", `≠ ${differenceText(each)}`, each[3][0]]),
    ...findings.map((finding, at) => ["finding", `⚠ ${finding}`, (noted[at] ?? noted[0])?.number]),
  ];
  if (issues.length) about.append(issueList(issues));
  // Differences from the expectation come first, then findings.
  if (fieldsView.differing()) return;
  if (noted.length) fieldsView.move(noted[0].number, { scroll: true });
  if (fieldsView.cursor < 0) fieldsView.light([]);
}

/** Return a list of the packet's differences and findings; each is a button that goes to its field. */
function issueList(issues) {
  const list = make("ul");
  for (const [kind, text, row] of issues) {
    const item = make("li");
    const button = make("button", kind, text);
    button.type = "button";
    button.addEventListener("click", () => fieldsView.move(row));
    item.append(button);
    list.append(item);
  }
  return list;
}

const refilter = () => packetsView.filter($("filter").value, $("suspicious").getAttribute("aria-pressed") === "true");
const toggleSuspicious = () => {
  const button = $("suspicious");
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
  refilter();
};

const theme = {
  dark: matchMedia("(prefers-color-scheme: dark)"),
  now() {
    return document.documentElement.dataset.theme ?? (this.dark.matches ? "dark" : "light");
  },
  toggle() {
    document.documentElement.dataset.theme = this.now() === "dark" ? "light" : "dark";
    this.name();
  },
  name() {
    $("theme").textContent = this.now() === "dark" ? "Light" : "Dark";
  },
};

function save() {
  const blob = new Blob([bytesAt(0, Math.floor((recording.length * 3) / 4) - (recording.match(/=*$/)?.[0].length ?? 0))], { type: "application/byte-stream" });
  const link = make("a");
  link.href = URL.createObjectURL(blob);
  link.download = $("save").dataset.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const MOVES = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
const plainKey = (event) => !event.ctrlKey && !event.metaKey && !event.altKey;

$("list").addEventListener("keydown", (event) => {
  if (!plainKey(event)) return;
  if (event.key in MOVES) packetsView.stepBy(MOVES[event.key]);
  else if (event.key === "Enter") {
    if (fieldsView.cursor < 0) fieldsView.move(0);
    fieldsView.element.focus();
  } else return;
  event.preventDefault();
});
$("list").addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (row) packetsView.choose(packetsView.shown[Number(row.dataset.at)]);
});
$("scroll").addEventListener("scroll", () => packetsView.draw(), { passive: true });

const rowOf = (event) => fieldsView.rows[Number(event.target.closest(".item")?.dataset.row ?? -1)];
const tree = $("tree");
tree.addEventListener("click", (event) => {
  const row = rowOf(event);
  if (!row) return;
  if (event.target.closest(".marker") && !row.last) fieldsView.toggle(row, !row.open);
  else fieldsView.move(row.number);
});
tree.addEventListener("dblclick", (event) => {
  const row = rowOf(event);
  if (row && !row.last && !event.target.closest(".marker")) fieldsView.toggle(row, !row.open);
});
tree.addEventListener("mouseover", (event) => {
  const row = rowOf(event);
  if (row) fieldsView.light([row]);
});
tree.addEventListener("mouseleave", () => fieldsView.restore());
tree.addEventListener("focus", () => { if (fieldsView.cursor < 0) fieldsView.move(0); });
tree.addEventListener("keydown", (event) => {
  if (!plainKey(event)) return;
  const row = fieldsView.rows[fieldsView.cursor];
  const seen = fieldsView.rows.filter((each) => !each.hidden);
  switch (event.key) {
    case "ArrowDown": fieldsView.step(1); break;
    case "ArrowUp": fieldsView.step(-1); break;
    case "Home": fieldsView.move(0); break;
    case "End": fieldsView.move(seen.at(-1)?.number); break;
    case "PageDown": fieldsView.move(seen[Math.min(seen.length - 1, seen.indexOf(row) + 10)]?.number); break;
    case "PageUp": fieldsView.move(seen[Math.max(0, seen.indexOf(row) - 10)]?.number); break;
    case "ArrowRight":
      if (row && !row.last && !row.open) fieldsView.toggle(row, true);
      else if (row && !row.last) fieldsView.step(1);
      break;
    case "ArrowLeft":
      if (row && !row.last && row.open) fieldsView.toggle(row, false);
      else if (row?.parent) fieldsView.move(row.parent.number);
      break;
    case "Enter": bytesView.element.focus(); break;
    case "Escape": packetsView.element.focus(); break;
    default: return;
  }
  event.preventDefault();
});

const bytes = $("bytes");
const lightBits = ([start, bits], options) => {
  const rows = fieldsView.covering(start, bits);
  if (options.keep && rows.length) {
    fieldsView.move(rows[0].number, { scroll: false });
    bytesView.move(start >> 3);
  }
  fieldsView.light(rows, options);
};
let pointed = -1; // first bit of the digit under the pointer, to ignore moves within it
bytes.addEventListener("mousemove", (event) => {
  const bits = bytesView.bitsOf(event);
  if (!bits || bits[0] === pointed) return;
  [pointed] = bits;
  lightBits(bits, {});
});
bytes.addEventListener("mouseleave", () => {
  pointed = -1;
  fieldsView.restore();
});
bytes.addEventListener("click", (event) => {
  const bits = bytesView.bitsOf(event);
  if (bits) lightBits(bits, { keep: true });
});
bytes.addEventListener("focus", () => bytesView.move(bytesView.cursor));
bytes.addEventListener("keydown", (event) => {
  const row = bytesView.across;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row, PageUp: -8 * row, PageDown: 8 * row, Home: -Infinity, End: Infinity }[event.key];
  if (!plainKey(event) || event.target !== bytes) return;
  if (by) {
    bytesView.move(bytesView.cursor + by);
    lightBits([bytesView.cursor * 8, 8], { keep: true });
  } else if (event.key === "Enter" || event.key === "Escape") tree.focus();
  else return;
  event.preventDefault();
});

$("filter").addEventListener("input", refilter);
$("filter").addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    $("filter").value = "";
    refilter();
    packetsView.element.focus();
  } else if (event.key === "Enter" || event.key === "ArrowDown") packetsView.element.focus();
  else return;
  event.preventDefault();
});
$("suspicious").addEventListener("click", toggleSuspicious);
$("theme").addEventListener("click", () => theme.toggle());
$("save").addEventListener("click", save);
$("help").addEventListener("click", () => $("keys").showModal());
document.addEventListener("keydown", (event) => {
  if (!plainKey(event) || event.target.closest("input, dialog")) return;
  switch (event.key) {
    case "j": packetsView.stepBy(1); break;
    case "k": packetsView.stepBy(-1); break;
    case "/": $("filter").focus(); break;
    case "d": fieldsView.nextDiffering(); break;
    case "s": toggleSuspicious(); break;
    case "t": theme.toggle(); break;
    case "?": $("keys").showModal(); break;
    default: return;
  }
  event.preventDefault();
});

addEventListener("resize", () => packetsView.measure());
addEventListener("beforeprint", () => { packetsView.all = true; packetsView.draw(); });
addEventListener("afterprint", () => { packetsView.all = false; packetsView.draw(); });
theme.dark.addEventListener("change", () => theme.name());

$("plain").remove();
$("app").hidden = false;
$("suspicious").hidden = !data.packets.some((packet) => packet[11].length);
theme.name();
packetsView.measure();
// `data.chosen` was computed with the page: the packet that made the test fail, if there is one.
packetsView.choose(data.chosen);
packetsView.element.focus({ preventScroll: true });
