#!/bin/sh
# Write the JSON schemas of Grafana's dashboard types. Needs Node and npm; tests need neither.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --ignore-scripts --no-audit --no-fund --loglevel=error \
  @grafana/schema@13.2.3 ts-json-schema-generator@2.4.0
cp "$here/types.ts" types.ts
echo '{"compilerOptions": {"moduleResolution": "node", "strict": true, "skipLibCheck": true}, "include": ["types.ts"]}' >tsconfig.json
for name in $(sed -n 's/^export type Our\([A-Za-z]*\) .*/\1/p' types.ts); do
  npx ts-json-schema-generator --path types.ts --type "Our$name" --no-type-check \
    --tsconfig tsconfig.json -o "$here/$name.json"
done
