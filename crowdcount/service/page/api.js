// Requests to the service: the token, and trying again when it is busy.

const ask = document.getElementById("ask");
const KEY = "crowdcount-token";
const TRIES = 6;

let asking = null; // requests that are refused together ask once

/** Ask for the token; `why` says what is wrong with the last one. */
function askForToken(why) {
  asking ??= openDialog(why).finally(() => { asking = null; });
  return asking;
}

function openDialog(why) {
  const input = document.getElementById("token"), note = document.getElementById("ask-why");
  note.textContent = why;
  note.hidden = !why;
  input.value = "";
  ask.showModal();
  return new Promise((resolve) => {
    ask.addEventListener("close", () => {
      sessionStorage.setItem(KEY, input.value.trim());
      resolve();
    }, { once: true });
  });
}

ask.addEventListener("cancel", (event) => event.preventDefault());

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

/** Return the answer of the service as JSON; an Error says in plain words why there is none. */
export async function request(path, options = {}, onWait = () => {}) {
  let why = "";
  for (let attempt = 1; ; attempt++) {
    const token = sessionStorage.getItem(KEY);
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    let answer;
    if (token && !/^[\x20-\x7e]+$/.test(token)) { // no header can hold it
      sessionStorage.removeItem(KEY);
      await askForToken("A token has no accents or other signs; this one is wrong.");
      continue;
    }
    try {
      answer = await fetch(path, { ...options, headers });
    } catch {
      throw new Error("The service does not answer. Is it running, and is the image not larger than it takes?");
    }
    if (answer.status === 401) {
      if (token) why = "This token is wrong.";
      if (sessionStorage.getItem(KEY) === token) sessionStorage.removeItem(KEY);
      else if (sessionStorage.getItem(KEY)) continue; // another request has asked meanwhile
      await askForToken(why);
      continue;
    }
    const wait = Number(answer.headers.get("Retry-After"));
    if ((answer.status === 503 || answer.status === 429) && wait && attempt < TRIES) {
      onWait();
      await pause(wait * (0.75 + Math.random() / 2));
      continue;
    }
    const content = await answer.json().catch(() => ({}));
    if (answer.ok) return content;
    throw new Error(content.error ?? `The service answers with status ${answer.status}.`);
  }
}
