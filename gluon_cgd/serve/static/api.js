// Requests to the server. Each returns its JSON, or throws an Error whose message is for people.

export async function ask(path, values = {}, signal = undefined) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value != null));
  return answer(fetch(`${path}?${query}`, { signal, credentials: "same-origin" }));
}

export async function upload(file, limit) {
  if (file.size > limit) {
    throw new Error(`The picture has ${mega(file.size)}, and at most ${mega(limit)} are taken: save it smaller`);
  }
  const type = file.type.startsWith("image/") ? file.type : "application/octet-stream";
  const body = await file.arrayBuffer(); // a file that has gone meanwhile fails here, with a message of its own
  return answer(fetch("/api/query", { method: "POST", body, headers: { "Content-Type": type } }));
}

async function answer(request) {
  let response;
  try {
    response = await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is it still running?");
  }
  let values;
  try {
    values = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(`The server answered ${response.status} without saying why`);
  }
  if (!response.ok) throw new Error(sentence(values.error || `status ${response.status}`));
  return values;
}

function sentence(text) {
  if (/^[a-z0-9]+=/.test(text)) return text; // it begins with a name
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function mega(bytes) {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
