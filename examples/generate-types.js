// Types for the operations in src/*.graphql: `generate-types.js string | documentNode [SCHEMA]`, after the schema of
// the kinds that ship unless a deployment's own is named.
//
// It calls GraphQL Code Generator's plugins. Its command line does the same from a codegen.ts; it also brings
// 200 packages for schemas that lie elsewhere, which a schema in the next folder doesn't need.
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { codegen } from '@graphql-codegen/core';
import * as documents from '@graphql-codegen/typed-document-node';
import * as operations from '@graphql-codegen/typescript-operations';
import { parse } from 'graphql';

const filename = 'src/generated/operations.ts';

const [documentMode, ownSchema] = process.argv.slice(2);
const asText = ['BigInt', 'Date', 'DateTime', 'Decimal', 'ID', 'Time', 'URL', 'UUID'];
const config = {
  documentMode,
  scalars: { ...Object.fromEntries(asText.map((name) => [name, 'string'])), JSON: 'unknown' },
  strictScalars: true,
  useTypeImports: true,
};

const names = (await readdir('src')).filter((name) => name.endsWith('.graphql'));
const written = await codegen({
  filename,
  config,
  schema: parse(await readFile(ownSchema ?? new URL('../schema.graphql', import.meta.url), 'utf8')),
  documents: await Promise.all(
    names.map(async (name) => ({ location: name, document: parse(await readFile(`src/${name}`, 'utf8')) })),
  ),
  plugins: [{ operations: {} }, { documents: {} }],
  pluginMap: { operations, documents },
});
await mkdir('src/generated', { recursive: true });
await writeFile(filename, written);
