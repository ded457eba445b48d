const find = (name) => element.querySelector(name);
const drop = find(".drop"), file = find(".file"), record = find(".record"), camera = find(".camera"), sending = find(".sending");
const most = Number(drop.dataset.most);
let busy = false;

function send(video, name) {
  if (busy || !video) return;
  if (video.size > most) { sending.textContent = `The video is too large: at most ${Math.round(most / 1048576)} MiB are taken.`; return; }
  busy = true;
  const form = new FormData(), request = new XMLHttpRequest();
  form.append("file", video, name);
  request.upload.onprogress = (event) => { sending.textContent = `Sending … ${Math.round(100 * event.loaded / event.total)}%`; };
  request.onload = () => {
    busy = false; file.value = "";
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
    sending.textContent = request.status === 200 ? "" : (answer.detail || "The service did not answer: try again.");
    if (request.status === 200) trigger("submit", { secret: answer.secret });
  };
  request.onerror = () => { busy = false; file.value = ""; sending.textContent = "The video could not be sent: try again."; };
  request.open("POST", "page/video");
  request.send(form);
}

file.addEventListener("change", () => { if (file.files.length) send(file.files[0], file.files[0].name); });
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault(); drop.classList.remove("over");
  if (event.dataTransfer.files.length !== 1) { sending.textContent = "Send one video at a time."; return; }
  send(event.dataTransfer.files[0], event.dataTransfer.files[0].name);
});
element.querySelectorAll("[data-example]").forEach((button) => button.addEventListener("click", () => {
  sending.textContent = ""; trigger("submit", { example: button.dataset.example });
}));

let recorder = null;
if (!navigator.mediaDevices || !window.MediaRecorder) record.hidden = true;
record.addEventListener("click", async () => {
  if (recorder) { recorder.stop(); return; }
  let stream;
  try { stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" }, audio: false }); }
  catch { sending.textContent = "The camera cannot be used: allow it in the browser, or choose a file."; return; }
  const pieces = [];
  camera.srcObject = stream; camera.hidden = false; camera.play();
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = (event) => pieces.push(event.data);
  const end = setTimeout(() => recorder && recorder.stop(), 10000);
  recorder.onstop = () => {
    clearTimeout(end); stream.getTracks().forEach((track) => track.stop());
    camera.hidden = true; camera.srcObject = null; record.textContent = "Record with the camera";
    const kind = recorder.mimeType; recorder = null;
    send(new Blob(pieces, { type: kind }), "recording");
  };
  recorder.start();
  record.textContent = "Stop, and send it (at most 10 seconds)";
});
