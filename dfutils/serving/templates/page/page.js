// Sends a video as soon as it is chosen, dropped or recorded, and shows each stage and the verdict as they come.
const find = (name) => document.querySelector(name);
const form = find("#send"), file = find("#video-file"), record = find(".record"), camera = find(".camera");
const sending = find(".sending"), result = find("#result"), nonce = document.currentScript.nonce;
const gone = "The service did not answer: try again.";
let busy = false, events = null, recorder = null, began = 0;
document.documentElement.classList.add("scripted");

function say(text) { sending.textContent = text; }

function show(name, text) {
  const made = find(name).content.cloneNode(true);
  if (text) made.querySelector("p").textContent = text;
  result.replaceChildren(made);
  if (name !== "#progress") result.firstElementChild.scrollIntoView({ behavior: "smooth", block: "start" });
}

function stage(number) {
  if (!result.querySelector(".progress")) show("#progress");
  const rows = [...result.querySelectorAll(".progress li")];
  rows.forEach((row, k) => { row.className = k < number ? "past" : k === number ? "now" : "next"; });
  result.querySelector(".progress p").textContent = `${rows[number].textContent} …`;
  began = performance.now();
}

function share(done) {
  const now = result.querySelector(".progress .now");
  if (!now || !(done > 0.02)) return;
  const left = Math.ceil((performance.now() - began) * (1 - done) / done / 1000);
  result.querySelector(".progress p").textContent = `${now.textContent} … ${Math.round(100 * done)}%, about ${left} s left`;
}

function done(report) {
  const allowed = report.replaceAll("<style>", `<style nonce="${nonce}">`);  // by the content security policy
  const verdict = new DOMParser().parseFromString(allowed, "text/html").querySelector(".verdict");
  show("#done");
  result.querySelector(".done").prepend(verdict);
  result.querySelector(".download").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([report], { type: "text/html" }));
    link.download = "verdict.html";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

function follow(address) {
  if (events) events.close();
  events = new EventSource(new URL(address, form.action));
  const end = (then) => (event) => { events.close(); then(event.data); };
  events.addEventListener("stage", (event) => stage(Number(event.data)));
  events.addEventListener("share", (event) => share(Number(event.data)));
  events.addEventListener("done", end(done));
  events.addEventListener("refused", end((text) => show("#refused", text)));
  events.onerror = () => { if (events.readyState === EventSource.CLOSED) show("#refused", gone); };  // else it tries again
}

function post(address, body) {
  if (busy) return;
  busy = true;
  const request = new XMLHttpRequest();
  request.upload.onprogress = (event) => say(`Sending … ${Math.round(100 * event.loaded / event.total)}%`);
  request.onload = () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
    say(request.status === 202 ? "" : answer.detail || gone);
    if (request.status === 202) { stage(0); follow(answer.events); }
  };
  request.onerror = () => say("The video could not be sent: try again.");
  request.onloadend = () => { busy = false; file.value = ""; };
  request.open("POST", address);
  request.setRequestHeader("Accept", "application/json");
  request.send(body);
}

function send(video, name) {
  const most = Number(form.dataset.most);
  if (video.size > most) { say(`The video is too large: at most ${Math.round(most / 1048576)} MiB are taken.`); return; }
  const body = new FormData();
  body.append("file", video, name);
  post(form.action, body);
}

file.addEventListener("change", () => { if (file.files.length) send(file.files[0], file.files[0].name); });
form.addEventListener("submit", (event) => event.preventDefault());
document.querySelectorAll(".examples form").forEach((example) => example.addEventListener("submit", (event) => {
  event.preventDefault();
  post(example.action, null);
}));
addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("over"); });
addEventListener("dragleave", () => form.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  const files = event.dataTransfer.files;
  if (files.length !== 1) say("Send one video at a time."); else send(files[0], files[0].name);
});

record.hidden = !(navigator.mediaDevices && window.MediaRecorder);
record.addEventListener("click", async () => {
  if (recorder) { recorder.stop(); return; }
  let stream;
  try { stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" }, audio: false }); }
  catch { say("The camera cannot be used: allow it in the browser, or choose a file."); return; }
  const pieces = [];
  camera.srcObject = stream; camera.hidden = false; camera.play();
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = (event) => pieces.push(event.data);
  const end = setTimeout(() => recorder.stop(), 10000);
  recorder.onstop = () => {
    clearTimeout(end);
    stream.getTracks().forEach((track) => track.stop());
    camera.hidden = true; camera.srcObject = null; record.textContent = "Record with the camera";
    const kind = recorder.mimeType;
    recorder = null;
    send(new Blob(pieces, { type: kind }), "recording");
  };
  recorder.start();
  record.textContent = "Stop, and send it (at most 10 seconds)";
});

async function waitForDetector() {
  if (find("#about").dataset.loaded === "yes") return;
  try {
    const page = new DOMParser().parseFromString(await (await fetch(form.action)).text(), "text/html");
    find("#about").replaceWith(page.querySelector("#about"));
  } catch { /* it is tried again */ }
  setTimeout(waitForDetector, 1000);
}
waitForDetector();
