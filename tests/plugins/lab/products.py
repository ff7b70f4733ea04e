"""Which recognisers are run: how each is made, and the stand-in for its provider."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

from tests.plugins.lab import calls, uploads
from tests.plugins.lab import sockets as ws
from tests.plugins.lab.loopback import Provider, Script

__all__ = ["RECOGNISERS", "Product", "installed"]

Make = Callable[[Any, Provider], Any]
KEY: Final = {"api_key": "none"}


class Product(NamedTuple):
    """A recogniser of a plugin, or one of its other models.

    Args:
        plugin: The package under ``livekit.plugins``; ``inference`` is LiveKit's own.
        name: The class, and what tells it from others of the plugin.
        script: What its provider says.
        make: Makes the model, from the plugin's module and the provider.
        streams: Whether ``stream()`` is run.
        batch: Whether ``recognize()`` is run.
    """

    plugin: str
    name: str
    script: type[Script]
    make: Make
    streams: bool = True
    batch: bool = False

    @property
    def key(self) -> str:
        return f"{self.plugin} {self.name}"


def plain(cls: str = "STT", **options: Any) -> Make:
    """A class that wants a key and its defaults."""

    def make(module: Any, lab: Provider) -> Any:
        kind = getattr(module, cls)
        given = {**KEY, **options}
        if "http_session" in inspect.signature(kind).parameters:
            given["http_session"] = lab.session
        return kind(**given)

    return make


def at_base(cls: str = "STT", path: str = "", **options: Any) -> Make:
    """A class whose client is not ours, sent here by its address."""

    def make(module: Any, lab: Provider) -> Any:
        model = getattr(module, cls)(**KEY, **options)
        model.lab_names = (model.provider, model.model)  # as it is called at its own address
        model._client.base_url = lab.http + path
        return model

    return make


def gnani(module: Any, lab: Provider) -> Any:
    model = module.STT(**KEY, base_url=lab.http, use_streaming=True)
    model._session = lab.session
    return model


def clova(module: Any, lab: Provider) -> Any:
    return module.STT(secret="none", invoke_url=lab.http)


def inference(_: Any, lab: Provider) -> Any:
    from livekit.agents import inference as module

    return module.STT("deepgram/nova-3", api_key="none", api_secret="none" * 8, base_url=lab.http)


def rtzr(module: Any, lab: Provider) -> Any:
    os.environ.update(RTZR_CLIENT_ID="none", RTZR_CLIENT_SECRET="none")
    return module.STT(http_session=lab.session)


def fal(module: Any, lab: Provider) -> Any:
    client: Any = import_module("fal_client.client")
    client.RUN_URL_FORMAT = lab.http + "/"
    return module.WizperSTT(**KEY)


def spitch(module: Any, lab: Provider) -> Any:
    os.environ.update(SPITCH_API_KEY="none", SPITCH_BASE_URL=lab.http)
    return module.STT()


def mistral(module: Any, lab: Provider) -> Any:
    client = import_module("mistralai.client").Mistral(api_key="none", server_url=lab.http)
    return module.STT(client=client, model="voxtral-mini-latest")


def google(module: Any, lab: Provider) -> Any:
    grpc: Any = import_module("grpc")
    speech: Any = import_module("google.cloud.speech_v1")
    transports: Any = import_module("google.cloud.speech_v1.services.speech.transports")

    async def connect(timeout: float) -> Any:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{lab.port}")
        transport = transports.SpeechGrpcAsyncIOTransport(channel=channel)
        return speech.SpeechAsyncClient(transport=transport)

    nobody = import_module("google.auth.credentials").AnonymousCredentials()
    model = module.STT(credentials=nobody, project="laboratory")
    model._project_id = "laboratory"
    model._pool._connect_cb = connect
    return model


def nvidia(module: Any, lab: Provider) -> Any:
    return module.STT(**KEY, server=f"127.0.0.1:{lab.port}", use_ssl=False)


def speechmatics(module: Any, lab: Provider) -> Any:
    return module.STT(**KEY, base_url=lab.ws + "/v2")


RECOGNISERS: Final = (
    Product("assemblyai", "STT", ws.AssemblyAI, plain()),
    Product("baseten", "STT", ws.Baseten, plain(model_endpoint="wss://baseten.test/v1")),
    Product("cartesia", "STT ink-2", ws.CartesiaInk2, plain()),
    Product("cartesia", "STT ink-whisper", ws.CartesiaWhisper, plain(model="ink-whisper")),
    Product("clova", "STT", uploads.Clova, clova, streams=False, batch=True),
    Product("deepgram", "STT", ws.Deepgram, plain(), batch=True),
    Product("deepgram", "STTv2", ws.DeepgramFlux, plain("STTv2")),
    Product(
        "elevenlabs",
        "STT scribe_v2_realtime",
        ws.ElevenLabs,
        plain(model="scribe_v2_realtime"),
    ),
    Product("elevenlabs", "STT", ws.ElevenLabs, plain(), streams=False, batch=True),
    Product("fal", "WizperSTT", uploads.Text, fal, streams=False, batch=True),
    Product("fireworksai", "STT", ws.Fireworks, plain()),
    Product("gladia", "STT", ws.Gladia, plain()),
    Product("gnani", "STT", ws.Gnani, gnani, batch=True),
    Product("google", "STT", calls.Google, google),
    Product("gradium", "STT", ws.Gradium, plain()),
    Product("groq", "STT", uploads.Whisper, at_base(), streams=False, batch=True),
    Product("inference", "STT", ws.Inference, inference),
    Product("inworld", "STT", ws.Inworld, plain()),
    Product("meta", "STT", ws.MetaMuse, plain()),
    Product("mistralai", "STT", uploads.Whisper, mistral, streams=False, batch=True),
    Product("nabrah", "STT", ws.Nabrah, plain()),
    Product("nvidia", "STT", calls.Riva, nvidia),
    Product("openai", "STT", uploads.Whisper, at_base(), streams=False, batch=True),
    Product("openai", "STT realtime", ws.OpenAIRealtime, plain(use_realtime=True)),
    Product("rtzr", "STT", ws.Rtzr, rtzr),
    Product("sarvam", "STT", ws.Sarvam, plain(language="en-IN"), batch=True),
    Product("sarvam", "STTRealtime", ws.SarvamRealtime, plain("STTRealtime")),
    Product("simplismart", "STT", ws.Simplismart, plain(streaming=True)),
    Product("slng", "STT", ws.Slng, plain(model="deepgram/nova:3")),
    Product("smallestai", "STT", ws.SmallestAI, plain(), batch=True),
    Product("soniox", "STT", ws.Soniox, plain()),
    Product("speechmatics", "STT", ws.Speechmatics, speechmatics),
    Product("spitch", "STT", uploads.Text, spitch, streams=False, batch=True),
    Product("telnyx", "STT", ws.Telnyx, plain()),
    Product("xai", "STT", ws.XAI, plain(), batch=True),
)


def installed(*wanted: str, of: Iterable[Product] = RECOGNISERS) -> list[tuple[Product, Any, str]]:
    """Those whose plugin is here, with its module and release.

    Args:
        *wanted: Parts of their keys; all of them without any.
        of: The table to look into.
    """
    found: list[tuple[Product, Any, str]] = []
    plugins = find_spec("livekit.plugins") is not None  # to look into what is not there raises
    for product in of:
        if wanted and not any(part in product.key for part in wanted):
            continue
        if product.plugin == "inference":
            found.append((product, None, metadata.version("livekit-agents")))
        elif plugins and find_spec(f"livekit.plugins.{product.plugin}") is not None:
            package = "livekit-plugins-" + product.plugin.replace("_", "-")
            module = import_module(f"livekit.plugins.{product.plugin}")
            if not hasattr(module, product.name.split()[0].partition(".")[0]):
                continue  # an older release of the plugin
            found.append((product, module, metadata.version(package)))
    return found
