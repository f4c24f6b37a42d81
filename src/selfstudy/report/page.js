"use strict";
// The browser of solutions. All text of a run goes through textContent, so that none of it is ever markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const list = document.getElementById("problems");
  const more = document.getElementById("more");
  const outcomes = ["right", "wrong", "unparsed"];
  const glyphs = ["✓", "✗", "?"];
  const page = 25;
  let found = [];
  let shown = 0;

  function make(tag, name, text) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // The greedy try decides; of samples, one that is right is enough.
  function outcome(samples) {
    const greedy = samples.find((sample) => sample[2] & 1);
    if (greedy) return greedy[1];
    const all = samples.map((sample) => sample[1]);
    return all.includes(0) ? 0 : all.includes(1) ? 1 : 2;
  }

  function drawsOf(problem, round) {
    return problem.d.filter(([column]) => round === "" || String(data.columns[column].round) === round);
  }

  function last(problem, round) {
    const draws = drawsOf(problem, round);
    const returned = draws.find(([column]) => data.columns[column].name === data.returned);
    return round === "" && returned ? returned : draws[draws.length - 1];
  }

  function matches(problem, wanted) {
    if (wanted.set && data.splits[problem.s].name !== wanted.set) return false;
    const end = last(problem, wanted.round);
    if (!end) return false;
    const now = outcome(end[1]);
    const before = outcome(problem.d[0][1]);
    if (wanted.outcome && outcomes[now] !== wanted.outcome) return false;
    if (wanted.change === "right" && !(before !== 0 && now === 0)) return false;
    if (wanted.change === "wrong" && !(before === 0 && now !== 0)) return false;
    const text = `${problem.id} ${problem.q} ${problem.a}`.toLowerCase();
    return wanted.q.toLowerCase().split(/\s+/).every((word) => text.includes(word));
  }

  function written(number, problem) {
    const [parts, fault] = problem.t[number];
    const text = make("p", "text");
    for (let i = 0; i < parts.length; i += 2) {
      const name = [parts[i] & 1 ? "calc" : "", parts[i] & 2 ? "fault" : ""].join(" ").trim();
      text.append(name ? make("span", name, parts[i + 1]) : parts[i + 1]);
    }
    if (!parts.length) text.append(make("i", "", "nothing"));
    return fault ? [text, make("p", "why", `faulty step: ${fault}`)] : [text];
  }

  function solution(number, problem, name, told) {
    const box = make("div", `solution ${name}`);
    const head = make("p");
    for (const part of told) head.append(part);
    box.append(head, ...written(number, problem));
    return box;
  }

  function sampled(samples, problem) {
    const groups = new Map(); // equal samples stand once, with their number
    for (const sample of samples) {
      const key = sample.slice(0, 3).join();
      if (!groups.has(key)) groups.set(key, { sample, times: 0 });
      groups.get(key).times += 1;
    }
    const kept = new Set(problem.l.map(([, number]) => number));
    return [...groups.values()].map(({ sample, times }) => {
      const [number, out, flags, extracted, tokens] = sample;
      const told = [make("b", "", `${glyphs[out]} ${outcomes[out]}`)];
      if (extracted !== null) told.push(` · ${extracted}`);
      told.push(` · ${tokens} tokens`);
      if (times > 1) told.push(` · ×${times}`);
      if (flags & 1) told.push(" · greedy");
      if (flags & 2) told.push(" · cut");
      if (kept.has(number)) told.push(" · kept as a pseudo-label");
      return solution(number, problem, outcomes[out], told);
    });
  }

  function side(columns) {
    const row = make("div", "side");
    row.tabIndex = 0;
    row.setAttribute("role", "group");
    row.append(...columns);
    return row;
  }

  function column(title, note, boxes) {
    const element = make("div");
    const heading = make("h5", "", title);
    if (note) heading.append(" ", make("small", "", note));
    element.append(heading, ...boxes);
    return element;
  }

  function inside(problem, round) {
    const box = make("div", "inside");
    const answer = make("p", "", "Answer: ");
    answer.append(make("b", "", problem.a));
    box.append(answer);
    if (problem.g) {
      const gold = make("details");
      gold.append(make("summary", "", "Worked solution"), make("pre", "", problem.g));
      box.append(gold);
    }
    const columns = drawsOf(problem, round).map(([number, samples]) => {
      const { name, note } = data.columns[number];
      return column(name, note, sampled(samples, problem));
    });
    box.append(make("h4", "", "Samples"), side(columns));
    problem.p.forEach(([step, chosen, rejected, similarity, gold, heldOut], number) => {
      if (!number) box.append(make("h4", "", "Pairs"));
      const note = `similarity ${similarity}${heldOut ? ", held out" : ""}`;
      const from = gold ? "chosen: the worked solution" : "chosen: a sample";
      box.append(side([
        column(data.steps[step], note, [solution(chosen, problem, "right", [from])]),
        column("\u00a0", "", [solution(rejected, problem, "wrong", ["rejected"])]),
      ]));
    });
    const labels = new Map();
    for (const [step, number] of problem.l) labels.set(number, [...(labels.get(number) || []), data.steps[step]]);
    if (labels.size) {
      box.append(make("h4", "", "Kept as pseudo-labels"));
      box.append(side([...labels].map(([number, steps]) => solution(number, problem, "right", [steps.join(", ")]))));
    }
    return box;
  }

  function item(problem, round) {
    const details = make("details", "problem");
    const summary = make("summary");
    const strip = make("span", "strip");
    for (const [number, samples] of drawsOf(problem, round)) {
      const out = outcome(samples);
      const glyph = make("span", outcomes[out], glyphs[out]);
      glyph.title = `${data.columns[number].name}: ${outcomes[out]}`;
      strip.append(glyph);
    }
    strip.setAttribute("role", "img");
    strip.setAttribute("aria-label", [...strip.children].map((glyph) => glyph.title).join(", "));
    summary.append(make("span", "id", problem.id), strip, make("span", "asked", problem.q));
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(inside(problem, round));
    });
    return details;
  }

  function wanted() {
    return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]));
  }

  function grow() {
    const { round } = wanted();
    list.append(...found.slice(shown, shown + page).map((problem) => item(problem, round)));
    shown = Math.min(found.length, shown + page);
    more.hidden = shown === found.length;
    more.textContent = `Show ${Math.min(page, found.length - shown)} more`;
  }

  function filter() {
    const asked = wanted();
    found = data.problems.filter((problem) => matches(problem, asked));
    shown = 0;
    list.replaceChildren();
    document.getElementById("count").textContent = `${found.length} of ${data.problems.length} problems`;
    grow();
  }

  // A view is a link: #q=apples&outcome=wrong. Other fragments are headings.
  function read() {
    if (!location.hash.includes("=")) return;
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const field of form.elements) if (field.name) field.value = asked.get(field.name) || "";
    filter();
    if (asked.has("open") && list.firstChild) list.firstChild.open = true;
    document.getElementById("solutions").scrollIntoView();
  }

  function changed() {
    const asked = new URLSearchParams(Object.entries(wanted()).filter(([, value]) => value));
    history.replaceState(null, "", asked.size ? `#${asked}` : "#solutions");
    filter();
  }

  for (const split of data.splits) {
    const named = { unlabelled: "training" }[split.name] || split.name.replace(/^transfer-/, "");
    form.elements.set.append(new Option(named, split.name));
  }
  const rounds = new Set(data.columns.map(({ round }) => round));
  for (const round of [...rounds].sort((a, b) => a - b)) form.elements.round.append(new Option(String(round)));
  form.hidden = false;
  document.getElementById("legend").hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", changed);
  form.addEventListener("reset", () => setTimeout(changed));
  more.addEventListener("click", grow);
  window.addEventListener("hashchange", read);
  filter();
  read();
})();
