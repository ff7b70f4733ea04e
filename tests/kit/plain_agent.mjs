// A participant in Node, with nothing of this package: what it does is its second argument.
// One line of JSON for each thing done. See tests/kit/plain_agent.py, which does the same.
import { createRequire } from "node:module";

const [, , modules, what, url, token, times, seconds] = process.argv;
const require = createRequire(`${modules}/`);
const { AudioSource, LocalAudioTrack, Room, TrackPublishOptions, TrackSource, dispose } =
  require("@livekit/rtc-node");

const tell = (did) => console.log(JSON.stringify({ did, at: Date.now() / 1000 }));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const told = new Promise((resolve) => process.stdin.once("end", resolve));
process.stdin.resume();

const join = async () => {
  const room = new Room();
  await room.connect(url, token, { autoSubscribe: false, dynacast: false });
  tell("joined");
  return room;
};

if (what === "rejoin") {
  for (let n = 0; n < Number(times); n++) {
    const room = await join();
    await pause(1000 * Number(seconds));
    await room.disconnect();
  }
}
const room = await join();
if (what === "publish") {
  for (let n = 0; n < Number(times); n++) {
    const source = new AudioSource(48000, 1);
    const track = LocalAudioTrack.createAudioTrack("mic", source);
    const options = new TrackPublishOptions();
    options.source = TrackSource.SOURCE_MICROPHONE;
    const publication = await room.localParticipant.publishTrack(track, options);
    tell("published");
    await pause(1000 * Number(seconds));
    await room.localParticipant.unpublishTrack(publication.sid);
  }
}
await told;
await room.disconnect();
await dispose();
process.exit(0);
