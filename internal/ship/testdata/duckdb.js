// Runs SQL of the command line in DuckDB and prints a JSON object for each row.
const { DuckDBInstance } = require('@duckdb/node-api');

(async () => {
  const connection = await (await DuckDBInstance.create(':memory:')).connect();
  const reader = await connection.runAndReadAll(process.argv[2]);
  for (const row of reader.getRowObjectsJson()) {
    console.log(JSON.stringify(row));
  }
})().catch((e) => { console.error(e.message); process.exit(1); });
