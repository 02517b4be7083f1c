/* Opened from disk, a page may not start a Worker. The search wants one, so on file: pages a hidden frame stands in for it:
   the script runs there, and messages go both ways as copies and later, as a Worker's do.
   Without this file the generator's pages would load such a script from elsewhere. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = "<!doctype html><body>";
      this.frame.addEventListener("load", () => this.start(url), { once: true });
      const attach = () => document.body.append(this.frame);
      if (document.body) attach();
      else document.addEventListener("DOMContentLoaded", attach);
    }

    start(url) {
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => this.later(() => this.tell(new MessageEvent("message", { data: structuredClone(data) })));
      const script = inside.document.createElement("script");
      script.src = url;
      script.onerror = () => this.tell(new Event("error", { cancelable: true }));
      script.onload = () => {
        const messages = this.waiting;
        this.waiting = null;
        messages.forEach((data) => this.postMessage(data));
      };
      inside.document.body.append(script);
    }

    later(action) {
      setTimeout(() => { if (this.frame.isConnected) action(); });
    }

    tell(event) {
      this.dispatchEvent(event);
      const handler = this["on" + event.type];
      if (typeof handler === "function") handler.call(this, event);
    }

    postMessage(data) {
      if (this.waiting) {
        this.waiting.push(structuredClone(data));
        return;
      }
      const copy = structuredClone(data);
      this.later(() => {
        const inside = this.frame.contentWindow;
        inside.dispatchEvent(new inside.MessageEvent("message", { data: copy }));
      });
    }

    terminate() {
      this.frame.remove();
    }
  };
}
