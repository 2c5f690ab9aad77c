// The page at /verify: runs verify.mjs on the file that the reader chose, and shows each step as it is done.
import { printable, steps, told, VERDICT } from './verify.mjs';

const form = document.getElementById('verify');
const part = (id) => document.getElementById(id);

function listed(parent, name, text, kind) {
  const item = document.createElement(name);
  item.textContent = text;
  if (kind) item.className = kind;
  parent.append(item);
}

async function chosen(id) {
  const files = Array.from(part(id).files, (file) => file.arrayBuffer());
  return (await Promise.all(files)).map((read) => new Uint8Array(read));
}

async function verify() {
  const [result, verdict, list, facts] = ['result', 'verdict', 'steps', 'facts'].map(part);
  for (const each of [verdict, list, facts, part('said')]) each.replaceChildren();
  result.hidden = false;
  let held = true;
  let known = {};
  try {
    const [bytes] = await chosen('file');
    const trust = { policies: await chosen('policy'), changes: await chosen('changes') };
    for await (const step of steps(bytes, part('vkey').value.trim(), trust)) {
      held &&= step.held;
      known = step.facts ?? known;
      listed(list, 'li', step.held ? step.title : `${step.title}: ${printable(step.reason)}`, step.held ? 'holds' : 'fails');
    }
  } catch (error) {
    held = false;
    listed(list, 'li', String(error.message), 'fails');
  }
  verdict.textContent = held ? form.dataset.holds : form.dataset.fails;
  verdict.className = held ? 'holds' : 'fails';
  result.dataset.verdict = held ? 'holds' : 'fails';
  if (!held) return;
  part('said').textContent = VERDICT;
  for (const [name, value] of told(known)) {
    const pair = document.createElement('div');
    listed(pair, 'dt', name);
    listed(pair, 'dd', String(value));
    facts.append(pair);
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  verify();
});
