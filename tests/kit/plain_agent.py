"""A participant in Python, with nothing of this package; ``plain_agent.mjs`` does the same in Node.

``python plain_agent.py rejoin|stay|publish URL TOKEN TIMES SECONDS``: one line of JSON for each
thing done, which lasts so many seconds; it leaves when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from livekit import rtc


def tell(did: str) -> None:
    print(json.dumps({"did": did, "at": time.time()}), flush=True)


async def main(what: str, url: str, token: str, times: int, seconds: float) -> None:
    async def join() -> rtc.Room:
        joined = rtc.Room()
        await joined.connect(url, token, rtc.RoomOptions(auto_subscribe=False))
        tell("joined")
        return joined

    if what == "rejoin":
        for _ in range(times):
            room = await join()
            await asyncio.sleep(seconds)
            await room.disconnect()
    room = await join()
    if what == "publish":
        for _ in range(times):
            source = rtc.AudioSource(48_000, 1)
            track = rtc.LocalAudioTrack.create_audio_track("mic", source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            publication = await room.local_participant.publish_track(track, options)
            tell("published")
            await asyncio.sleep(seconds)
            await room.local_participant.unpublish_track(publication.sid)
    await asyncio.to_thread(sys.stdin.read)
    await room.disconnect()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
