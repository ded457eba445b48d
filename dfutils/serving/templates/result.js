element.addEventListener("click", (event) => {
  if (!event.target.closest(".download")) return;
  const kept = element.querySelector("template[data-page]"), link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([kept.dataset.page], { type: "text/html" }));
  link.download = kept.dataset.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
watch("value", () => {
  const first = element.querySelector(".done, .refused");
  if (first) first.scrollIntoView({ behavior: "smooth", block: "start" });
});
