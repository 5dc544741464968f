
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const memory = new Int16Array(bytes(data.memory).buffer);
  const chances = new Uint16Array(bytes(data.chances).buffer);
  const likeliest = bytes(data.likeliest), came = bytes(data.came), joined = bytes(data.joined);
  const gates = data.gates.map((gate) => ({ name: gate.name, values: bytes(gate.values) }));
  const { closes, times, moves, kept } = data;
  const bars = closes.length, bins = moves.length;
  const $ = (id) => document.getElementById(id);
  const chart = $("chart"), overview = $("overview"), readout = $("readout"), choice = $("unit"), own = $("own");
  const LEFT = 116, RIGHT = 92, FEWEST = Math.min(20, bars);
  let unit = data.first, span = Math.min(data.span, bars), first = data.start, cursor = -1, scheduled = false;

  const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
  const c = (bar) => memory[unit * bars + bar] / 1000;
  const signal = (bar) => (data.squashed ? Math.tanh(c(bar)) : c(bar));
  const gate = (each, bar) => each.values[unit * bars + bar] / 255;
  const minus = (text) => text.replace("-", "−");
  const signed = (value, digits) => minus((value > 0 ? "+" : "") + value.toFixed(digits));
  const price = (value) => value.toLocaleString("en", { maximumSignificantDigits: 6 });
  const when = (bar) => {
    const text = new Date(times[bar] * 1000).toISOString();
    return data.intraday ? text.slice(0, 10) + " " + text.slice(11, 16) : text.slice(0, 10);
  };
  const limits = Array.from({ length: data.units }, (_, u) => {
    let most = 0;
    for (let bar = 0; bar < bars; bar++) most = Math.max(most, Math.abs(memory[u * bars + bar] / 1000));
    if (data.squashed) most = Math.tanh(most);
    return Math.max(Math.ceil(10 * most - 1e-9) / 10, 0.1);
  });
  const widest = data.squashed ? 1 : Math.max(1, ...limits);
  const limit = () => (own.checked ? limits[unit] : widest);
  const strongest = Math.max(chances.slice().sort()[Math.floor(0.99 * (chances.length - 1))], 1) / 10000; // a few windows are far surer

  const mix = (from, to, share) => from.map((part, n) => Math.round(part + share * (to[n] - part)));
  const BLUE = [0, 114, 178], GREY = [196, 196, 196], ORANGE = [213, 94, 0], WHITE = [255, 255, 255], NAVY = [8, 48, 107];
  const rgb = (color) => `rgb(${color.join(",")})`;
  const signedColor = (value) => rgb(mix(GREY, value < 0 ? BLUE : ORANGE, Math.min(Math.abs(value), 1)));
  const shade = (share) => rgb(mix(WHITE, NAVY, clamp(share, 0, 1)));

  function prepare(canvas) {
    const ratio = window.devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    g.font = "12px system-ui, 'Segoe UI', 'Liberation Sans', Arial, sans-serif";
    return { g, width, height };
  }

  function layout(width, height) {
    const strip = 22, gap = 8, under = 40;
    const strips = gates.length ? gates.length * (strip + 3) + gap : 0;
    const rest = height - strips - under - 2 * gap - 30;
    const top = 10, priceHeight = Math.round(0.53 * rest);
    return { left: LEFT, plot: width - LEFT - RIGHT, top, priceHeight, strip, stripTop: top + priceHeight + gap,
      movesTop: top + priceHeight + gap + strips + 22, movesHeight: rest - priceHeight };
  }

  function scaleBar(g, x, top, height, colorAt, low, high, title) {
    for (let n = 0; n < height; n++) {
      g.fillStyle = colorAt(1 - n / (height - 1));
      g.fillRect(x, top + n, 12, 1.5);
    }
    g.fillStyle = "#1a1a1a";
    g.textAlign = "left";
    g.textBaseline = "top";
    g.fillText(high, x + 17, top);
    g.textBaseline = "bottom";
    g.fillText(low, x + 17, top + height);
    g.textBaseline = "middle";
    g.save();
    g.translate(x + 52, top + height / 2);
    g.rotate(-Math.PI / 2);
    g.textAlign = "center";
    g.fillText(title, 0, 0);
    g.restore();
  }

  function niceStep(range, count) {
    const rough = range / count, power = 10 ** Math.floor(Math.log10(rough));
    return power * ([1, 2, 2.5, 5].find((each) => each * power >= rough) || 10);
  }

  function draw() {
    scheduled = false;
    const { g, width, height } = prepare(chart), at = layout(width, height);
    const step = at.plot / span, last = first + span - 1;
    const x = (bar) => at.left + (bar - first + 0.5) * step;

    let low = Infinity, high = -Infinity;
    for (let bar = first; bar <= last; bar++) { low = Math.min(low, closes[bar]); high = Math.max(high, closes[bar]); }
    const margin = 0.05 * (high - low || Math.abs(high) || 1);
    low -= margin; high += margin;
    const y = (value) => at.top + at.priceHeight * (high - value) / (high - low);
    g.textAlign = "right";
    g.textBaseline = "middle";
    const tick = niceStep(high - low, 5);
    for (let value = Math.ceil(low / tick) * tick; value <= high; value += tick) {
      g.fillStyle = "#e5e5e5";
      g.fillRect(at.left, y(value), at.plot, 1);
      g.fillStyle = "#1a1a1a";
      g.fillText(price(value), at.left - 6, y(value));
    }
    g.save();
    g.translate(14, at.top + at.priceHeight / 2);
    g.rotate(-Math.PI / 2);
    g.textAlign = "center";
    g.fillText("close", 0, 0);
    g.restore();
    const edge = limit();
    g.lineWidth = 3;
    g.lineCap = "round";
    for (let bar = Math.max(first, 1); bar <= last; bar++) {
      if (!joined[bar] || bar === first) continue;
      g.strokeStyle = signedColor(signal(bar) / edge);
      g.beginPath();
      g.moveTo(x(bar - 1), y(closes[bar - 1]));
      g.lineTo(x(bar), y(closes[bar]));
      g.stroke();
    }
    scaleBar(g, at.left + at.plot + 12, at.top, at.priceHeight, (share) => signedColor(2 * share - 1), signed(-edge, 1), signed(edge, 1),
      data.symbol + " of unit " + unit);

    gates.forEach((each, n) => {
      const top = at.stripTop + n * (at.strip + 3);
      for (let bar = first; bar <= last; bar++) {
        const level = Math.round(255 * (1 - gate(each, bar)));
        g.fillStyle = `rgb(${level},${level},${level})`;
        g.fillRect(x(bar) - step / 2, top, step + 0.5, at.strip);
      }
      g.strokeStyle = "#999";
      g.lineWidth = 1;
      g.strokeRect(at.left, top, at.plot, at.strip);
      g.fillStyle = "#1a1a1a";
      g.textAlign = "right";
      g.textBaseline = "middle";
      g.fillText(each.name + " gate", at.left - 6, top + at.strip / 2);
    });
    if (gates.length) {
      const stripsHeight = gates.length * (at.strip + 3) - 3;
      scaleBar(g, at.left + at.plot + 12, at.stripTop, stripsHeight, (share) => rgb(mix(WHITE, [0, 0, 0], share)), "0 shut", "1 open", "");
      g.strokeStyle = "#999";
      g.strokeRect(at.left + at.plot + 12, at.stripTop, 12, stripsHeight);
    }

    const row = at.movesHeight / bins, rowTop = (bin) => at.movesTop + at.movesHeight - (bin + 1) * row;
    g.fillStyle = "#1a1a1a";
    g.textAlign = "left";
    g.textBaseline = "bottom";
    g.fillText("the " + kept + " likeliest next moves at each bar; dot: the move that came", at.left, at.movesTop - 4);
    for (let bar = first; bar <= last; bar++) {
      for (let n = 0; n < kept; n++) {
        g.fillStyle = shade(chances[bar * kept + n] / 10000 / strongest);
        g.fillRect(x(bar) - step / 2, rowTop(likeliest[bar * kept + n]), step + 0.5, row + 0.5);
      }
    }
    g.fillStyle = "#000";
    const dot = clamp(step / 3, 0.8, 3);
    g.globalAlpha = step < 2 ? 0.5 : 1;
    for (let bar = first; bar <= last; bar++) {
      g.beginPath();
      g.arc(x(bar), rowTop(came[bar]) + row / 2, dot, 0, 2 * Math.PI);
      g.fill();
    }
    g.globalAlpha = 1;
    g.strokeStyle = "#999";
    g.strokeRect(at.left, at.movesTop, at.plot, at.movesHeight);
    g.fillStyle = "#1a1a1a";
    g.textAlign = "right";
    g.textBaseline = "middle";
    const labels = Math.min(bins, 7);
    for (let n = 0; n < labels; n++) {
      const bin = Math.round((n * (bins - 1)) / (labels - 1));
      g.fillText(signed(moves[bin], 2) + " %", at.left - 6, rowTop(bin) + row / 2);
    }
    g.save();
    g.translate(14, at.movesTop + at.movesHeight / 2);
    g.rotate(-Math.PI / 2);
    g.textAlign = "center";
    g.fillText("next bar's move", 0, 0);
    g.restore();
    scaleBar(g, at.left + at.plot + 12, at.movesTop, at.movesHeight, shade, "0 %", "≥ " + Math.round(100 * strongest) + " %", "probability");

    g.textBaseline = "top";
    const marks = Math.max(2, Math.min(6, Math.floor(at.plot / 150), span));
    for (let n = 0; n < marks; n++) {
      const bar = first + Math.round((n * (span - 1)) / (marks - 1));
      g.fillRect(x(bar) - 0.5, at.movesTop + at.movesHeight, 1, 4);
      g.textAlign = n === 0 ? "left" : n === marks - 1 ? "right" : "center";
      g.fillText(when(bar), n === 0 ? at.left : n === marks - 1 ? at.left + at.plot : x(bar), at.movesTop + at.movesHeight + 6);
    }
    g.textAlign = "center";
    g.fillText("last bar of the window, UTC", at.left + at.plot / 2, at.movesTop + at.movesHeight + 22);

    if (cursor >= first && cursor <= last) {
      g.strokeStyle = "#000";
      g.lineWidth = 1;
      g.setLineDash([4, 3]);
      g.beginPath();
      g.moveTo(x(cursor), at.top);
      g.lineTo(x(cursor), at.movesTop + at.movesHeight);
      g.stroke();
      g.setLineDash([]);
    }
    drawOverview();
  }

  function drawOverview() {
    const { g, width, height } = prepare(overview), plot = width - LEFT - RIGHT;
    let low = Infinity, high = -Infinity;
    for (const close of closes) { low = Math.min(low, close); high = Math.max(high, close); }
    g.fillStyle = "#dcebf5";
    g.fillRect(LEFT + (plot * first) / bars, 0, Math.max(2, (plot * span) / bars), height);
    g.strokeStyle = "#555";
    g.lineWidth = 1;
    g.beginPath();
    closes.forEach((close, bar) => {
      const px = LEFT + (plot * (bar + 0.5)) / bars, py = 4 + (height - 8) * (high - close) / (high - low || 1);
      if (bar === 0) g.moveTo(px, py); else g.lineTo(px, py);
    });
    g.stroke();
    g.strokeStyle = "#999";
    g.strokeRect(LEFT, 0.5, plot, height - 1);
    g.fillStyle = "#1a1a1a";
    g.textAlign = "right";
    g.textBaseline = "middle";
    g.fillText("whole test part", LEFT - 6, height / 2);
  }

  function tell() {
    if (cursor < 0) return;
    const state = data.squashed ? `C ${signed(c(cursor), 3)}, tanh(C) ${signed(signal(cursor), 3)}` : `h ${signed(c(cursor), 3)}`;
    const opened = gates.map((each) => `${each.name} ${gate(each, cursor).toFixed(2)}`).join(", ");
    const next = Array.from({ length: kept }, (_, n) =>
      `${signed(moves[likeliest[cursor * kept + n]], 2)} % (${(chances[cursor * kept + n] / 100).toFixed(1)} %)`).join(", ");
    readout.textContent = `${when(cursor)} UTC, close ${price(closes[cursor])}. Unit ${unit}: ${state}${opened ? ". Gates: " + opened : ""}. ` +
      `Next move, with its probability: ${next}. Came: about ${signed(moves[came[cursor]], 2)} %.`;
  }

  function refresh() {
    span = clamp(Math.round(span), FEWEST, bars);
    first = clamp(Math.round(first), 0, bars - span);
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(draw);
  }
  function choose(number) {
    unit = (number + data.units) % data.units;
    choice.value = String(unit);
    for (const row of document.querySelectorAll("#ranking tbody tr")) row.classList.toggle("chosen", Number(row.dataset.unit) === unit);
    tell();
    refresh();
  }
  function point(bar) {
    cursor = clamp(bar, 0, bars - 1);
    if (cursor < first) first = cursor;
    if (cursor >= first + span) first = cursor - span + 1;
    tell();
    refresh();
  }
  function zoom(factor, around) {
    const middle = around === undefined ? (cursor >= first && cursor < first + span ? cursor : first + span / 2) : around;
    const share = (middle - first) / span;
    span = clamp(Math.round(span * factor), FEWEST, bars);
    first = middle - share * span;
    refresh();
  }
  const pan = (by) => { first += by; refresh(); };
  const barAt = (event) => {
    const box = chart.getBoundingClientRect();
    return first + Math.floor(((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * span);
  };

  for (let n = 0; n < data.units; n++) {
    const option = document.createElement("option");
    option.value = option.textContent = String(n);
    choice.append(option);
  }
  choice.addEventListener("change", () => choose(Number(choice.value)));
  $("before").addEventListener("click", () => choose(unit - 1));
  $("after").addEventListener("click", () => choose(unit + 1));
  $("left").addEventListener("click", () => pan(-span / 2));
  $("right").addEventListener("click", () => pan(span / 2));
  $("in").addEventListener("click", () => zoom(0.5));
  $("out").addEventListener("click", () => zoom(2));
  $("all").addEventListener("click", () => { span = bars; first = 0; refresh(); });
  own.addEventListener("change", refresh);
  window.addEventListener("resize", refresh);

  const pointers = new Map();
  let grabbed = null;
  chart.addEventListener("pointerdown", (event) => {
    chart.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event.clientX);
    grabbed = { x: event.clientX, first, span, moved: false, gap: gap() };
  });
  const gap = () => { const [a, b] = [...pointers.values()]; return b === undefined ? 0 : Math.max(Math.abs(a - b), 10); };
  chart.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) {
      const bar = barAt(event);
      if (bar >= first && bar < first + span) point(bar);
      return;
    }
    pointers.set(event.pointerId, event.clientX);
    if (pointers.size > 1) {
      zoom((grabbed.span * grabbed.gap) / gap() / span);
      return;
    }
    const by = event.clientX - grabbed.x;
    if (Math.abs(by) > 3) grabbed.moved = true;
    if (grabbed.moved) { first = grabbed.first - (by / (chart.clientWidth - LEFT - RIGHT)) * grabbed.span; refresh(); }
  });
  const release = (event) => {
    if (grabbed && !grabbed.moved && event.type === "pointerup") {
      const bar = barAt(event);
      if (bar >= first && bar < first + span) point(bar);
    }
    pointers.delete(event.pointerId);
  };
  chart.addEventListener("pointerup", release);
  chart.addEventListener("pointercancel", release);
  chart.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, barAt(event));
  }, { passive: false });
  chart.addEventListener("keydown", (event) => {
    const half = Math.max(1, Math.round(span / 2)), here = cursor < 0 ? first + span - 1 : cursor;
    const acts = {
      ArrowLeft: () => point(here - (event.shiftKey ? half : 1)),
      ArrowRight: () => point(here + (event.shiftKey ? half : 1)),
      ArrowUp: () => choose(unit - 1),
      ArrowDown: () => choose(unit + 1),
      Home: () => point(0),
      End: () => point(bars - 1),
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "−": () => zoom(2),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  });
  overview.addEventListener("pointerdown", (event) => {
    const box = overview.getBoundingClientRect();
    first = ((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * bars - span / 2;
    refresh();
  });

  const table = $("ranking"), body = table.tBodies[0], heads = [...table.querySelectorAll("thead th")];
  const sortBy = (n) => {
    const column = n === 0 ? 0 : 2 * n - 1;
    const size = (row) => Number(row.cells[column].dataset.size);
    const rows = [...body.rows].sort((a, b) => size(b) - size(a) || a.dataset.unit - b.dataset.unit);
    body.append(...rows);
    heads.forEach((head, m) => {
      if (m === n) head.setAttribute("aria-sort", n === 0 ? "ascending" : "descending"); else head.removeAttribute("aria-sort");
    });
  };
  heads.forEach((head, n) => head.querySelector("button").addEventListener("click", () => sortBy(n)));
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) choose(Number(row.dataset.unit));
  });
  sortBy(data.sorted + 1);
  choose(unit);
})();
