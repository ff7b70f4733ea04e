#!/usr/bin/env bash
# livekit-agents 1.8.9 with mcp 2.3.0: the tools of an MCP server that lists them in pages.
#
# Guess: all of them; the protocol has pages, and its client takes a cursor.
# Seen:  the first page's. The cursor that came with it is left alone, nothing is logged, and the filter
#        `allowed_tools` looks for its names in the first page, too.
# Hurts: an agent without the tool that its instructions name tries others instead, turn after turn; and it
#        happens on the day that the server's list grows beyond a page.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 mcp==2.3.0
cat >"$dir/shop.py" <<'PY'
import anyio
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

NAMES, PAGE = ["search", "show", "order", "cancel", "refund"], 2


async def list_tools(context, params):
    start = int(params.cursor) if params and params.cursor else 0
    page = NAMES[start : start + PAGE]
    tools = [types.Tool(name=name, input_schema={"type": "object"}) for name in page]
    more = str(start + PAGE) if start + PAGE < len(NAMES) else None
    return types.ListToolsResult(tools=tools, next_cursor=more)


async def main():
    server = Server("shop", on_list_tools=list_tools)
    async with stdio_server() as (receive, send):
        await server.run(receive, send, server.create_initialization_options())


anyio.run(main)
PY
cat >"$dir/look.py" <<'PY'
import asyncio
import sys

from livekit.agents.llm import mcp
from mcp import types
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client

SHOP = [sys.argv[1]]


async def main():
    server = mcp.MCPServerStdio(sys.executable, SHOP, client_session_timeout_seconds=60)
    await server.initialize()
    print("the agent has:", *[tool.info.name for tool in await server.list_tools()])
    await server.aclose()

    names, cursor = [], None
    async with stdio_client(StdioServerParameters(command=sys.executable, args=SHOP)) as streams:
        async with ClientSession(*streams) as client:
            await client.initialize()
            while cursor or not names:
                page = await client.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
                names, cursor = names + [tool.name for tool in page.tools], page.next_cursor
    print("the server has:", *names)


asyncio.run(main())
PY
"$dir/env/bin/python" -W ignore "$dir/look.py" "$dir/shop.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
the agent has: search show
the server has: search show order cancel refund
SEEN
