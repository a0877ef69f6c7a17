// The JSON API and the event stream.

export class ApiError extends Error {}

/** Ask the API; resolves to its answer, or throws an ApiError whose message is for people. */
export async function api(method, path, body, options = {}) {
  let response;
  try {
    response = await fetch(`/api/v1${path}`, {
      method, ...options,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The page's server cannot be reached.");
  }
  if (response.status === 401) location.assign("/login");
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    const { problem, remedy } = answer.error ?? {};
    throw new ApiError(remedy ? `${problem}; ${remedy}` : problem ?? `error ${response.status}`);
  }
  return answer;
}

/** What `listen` hears. It emits "change" with each status, and the events of the stream by their names. */
class Live extends EventTarget {
  constructor() {
    super();
    this.reachable = false; // whether the page's server is
    this.running = false; // whether `listen` is
    this.status = null;
    this.at = 0; // performance.now() of the status
    this.mel = false;
    this.source = null;
    document.addEventListener("visibilitychange", () => this.connect());
  }

  /** Ask for the log-mel picture too, or no more. */
  want(mel) {
    if (mel !== this.mel || !this.source) { this.mel = mel; this.connect(); }
  }

  connect() {
    this.source?.close();
    this.source = null;
    if (document.hidden) return; // a hidden page costs nothing
    const source = (this.source = new EventSource(`/api/v1/events${this.mel ? "?mel=true" : ""}`));
    source.addEventListener("live", (event) => {
      this.reachable = true;
      this.running = JSON.parse(event.data).running;
      this.status = null;
      this.changed();
    });
    source.addEventListener("status", (event) => {
      this.status = JSON.parse(event.data);
      this.at = performance.now();
      this.changed();
    });
    for (const name of ["play_started", "play_ended", "music_unknown", "silence", "mel"]) {
      source.addEventListener(name, (event) => this.dispatchEvent(new CustomEvent(name, { detail: JSON.parse(event.data) })));
    }
    source.onerror = () => {
      this.reachable = this.running = false;
      this.status = null;
      this.changed();
      if (source.readyState === EventSource.CLOSED && this.source === source) setTimeout(() => this.source === source && this.connect(), 5000);
    };
  }

  changed() { this.dispatchEvent(new Event("change")); }

  /** The play that is heard, and its position now. */
  get playing() { return this.status?.playing ?? null; }

  get position() {
    const play = this.playing;
    if (!play) return 0;
    const position = play.position_s + ((performance.now() - this.at) / 1000) * play.speed;
    return play.duration_s ? Math.min(position, play.duration_s) : position;
  }

  /** One line about what happens. */
  get text() {
    if (!this.reachable) return "Connecting…";
    if (!this.running) return "Not listening";
    if (!this.status) return "Waiting for sound";
    return {
      "silence": "Silence", "no music": "No music", "searching": "Listening…", "playing": "Playing now",
      "unknown music": "Unknown music", "paused": "Paused", "disconnected": "Microphone disconnected",
    }[this.status.state] ?? this.status.state;
  }
}

export const live = new Live();
