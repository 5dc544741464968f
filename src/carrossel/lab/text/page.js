
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const signal = new Int8Array(bytes(data.signal).buffer), likeliest = bytes(data.likeliest), chances = bytes(data.chances);
  const { text, kept, alphabet, glyphs, border, limit } = data, length = text.length, LEAF = 1200;
  const $ = (id) => document.getElementById(id);
  const area = $("text"), readout = $("readout"), choice = $("unit");
  let unit = data.first, leaf = 0, cursor = -1, columns = [];

  const leaves = [0];
  while (leaves[leaves.length - 1] + LEAF < length) {
    const end = leaves[leaves.length - 1] + LEAF, line = text.lastIndexOf("\n", end - 1);
    leaves.push(line + 1 > leaves[leaves.length - 1] + LEAF / 2 ? line + 1 : end);
  }
  leaves.push(length);

  const held = (place) => place >= border;
  const at = (place) => (signal[unit * length + place] / 127) * limit;
  const signed = (value) => ((value > 0 ? "+" : "") + value.toFixed(2)).replace("-", "−");
  const mix = (from, to, share) => `rgb(${from.map((part, n) => Math.round(part + share * (to[n] - part))).join(",")})`;
  const WHITE = [255, 255, 255], BLUE = [86, 180, 233], ORANGE = [230, 159, 0], GREEN = [0, 158, 115];
  const color = (value) => mix(WHITE, value < 0 ? BLUE : ORANGE, Math.min(Math.abs(value) / limit, 1));
  const element = (name, className, content) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (content !== undefined) made.textContent = content;
    return made;
  };

  function paint() {
    columns.forEach((column, n) => { column.firstChild.style.background = color(at(leaves[leaf] + n)); });
  }

  function turn(number) {
    leaf = Math.max(0, Math.min(number, leaves.length - 2));
    columns = [];
    const lines = [];
    let line = element("div", "line");
    for (let place = leaves[leaf]; place < leaves[leaf + 1]; place++) {
      if (place === border) line.append(element("div", "border", "held out from here on:"));
      const column = element("span", held(place) ? "column held" : "column");
      column.dataset.place = place;
      column.append(element("b", "", glyphs[text[place]]));
      for (let n = 0; n < kept; n++) {
        const code = likeliest[place * kept + n], share = chances[place * kept + n] / 255;
        const guess = element("i", alphabet[code] === text[place + 1] ? "came" : "", glyphs[alphabet[code]]);
        guess.style.background = mix(WHITE, GREEN, share);
        if (share < 0.01) guess.style.color = "#767676";
        column.append(guess);
      }
      line.append(column);
      columns.push(column);
      if (text[place] === "\n") { lines.push(line); line = element("div", "line"); }
    }
    lines.push(line);
    area.replaceChildren(...lines);
    $("earlier").disabled = leaf === 0;
    $("later").disabled = leaf === leaves.length - 2;
    paint();
  }

  function tell() {
    if (cursor < 0) return;
    const next = Array.from({ length: kept }, (_, n) =>
      `${glyphs[alphabet[likeliest[cursor * kept + n]]]} ${Math.round((chances[cursor * kept + n] / 255) * 100)} %`).join(", ");
    readout.textContent = `character ${(data.start + cursor + 1).toLocaleString("en")}, ${glyphs[text[cursor]]}` +
      `${held(cursor) ? " (held out)" : ""}: ${data.symbol} of unit ${unit} ${signed(at(cursor))}. Next: ${next}.`;
  }

  function point(place) {
    const mark = (on) => { const column = columns[cursor - leaves[leaf]]; if (column) column.classList.toggle("cursor", on); };
    mark(false);
    cursor = Math.max(0, Math.min(place, length - 1));
    if (cursor < leaves[leaf] || cursor >= leaves[leaf + 1]) turn(leaves.findIndex((_, n) => cursor < leaves[n + 1]));
    mark(true);
    tell();
  }

  function choose(number) {
    unit = (number + data.units) % data.units;
    choice.value = String(unit);
    for (const row of document.querySelectorAll("#ranking tbody tr")) row.classList.toggle("chosen", Number(row.dataset.unit) === unit);
    tell();
    paint();
  }

  for (let n = 0; n < data.units; n++) choice.append(element("option", "", String(n)));
  $("low").textContent = signed(-limit);
  $("high").textContent = signed(limit);
  choice.addEventListener("change", () => choose(Number(choice.value)));
  $("before").addEventListener("click", () => choose(unit - 1));
  $("after").addEventListener("click", () => choose(unit + 1));
  $("earlier").addEventListener("click", () => turn(leaf - 1));
  $("later").addEventListener("click", () => turn(leaf + 1));
  $("guesses").addEventListener("change", (event) => area.classList.toggle("plain", !event.target.checked));
  area.addEventListener("pointerover", (event) => {
    const column = event.target.closest(".column");
    if (column) point(Number(column.dataset.place));
  });
  area.addEventListener("keydown", (event) => {
    const here = cursor < leaves[leaf] || cursor >= leaves[leaf + 1] ? leaves[leaf] - 1 : cursor;
    const acts = {
      ArrowLeft: () => point(Math.max(here, leaves[leaf]) - 1), ArrowRight: () => point(here + 1),
      ArrowUp: () => choose(unit - 1), ArrowDown: () => choose(unit + 1),
      Home: () => point(0), End: () => point(length - 1),
      PageUp: () => turn(leaf - 1), PageDown: () => turn(leaf + 1),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
    if (cursor >= 0 && columns[cursor - leaves[leaf]]) columns[cursor - leaves[leaf]].scrollIntoView({ block: "nearest" });
  });

  const table = $("ranking"), body = table.tBodies[0], heads = [...table.querySelectorAll("thead th")];
  const sortBy = (n) => {
    const size = (row) => Number(row.cells[n].dataset.size);
    body.append(...[...body.rows].sort((a, b) => size(b) - size(a) || a.dataset.unit - b.dataset.unit));
    heads.forEach((head, m) => {
      if (m === n) head.setAttribute("aria-sort", n === 0 ? "ascending" : "descending"); else head.removeAttribute("aria-sort");
    });
  };
  heads.forEach((head, n) => head.querySelector("button").addEventListener("click", () => sortBy(n)));
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) choose(Number(row.dataset.unit));
  });
  sortBy(1);
  turn(0);
  choose(unit);
})();
