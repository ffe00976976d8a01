/** What a record has under a key that a sandbox chose: never what every object inherits
 * (`constructor`, `__proto__`, ...). */
export function own<Value>(
  record: Readonly<Record<string, Value>>,
  key: string,
): Value | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined
}
