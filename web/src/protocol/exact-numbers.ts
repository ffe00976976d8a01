/**
 * Numbers in a tool's input, as they were written. JavaScript rounds 9007199254740993 and writes 1.0
 * as 1: a person would be shown, and an edited input would carry, another number than what runs.
 * Everywhere but in inputs a number stays a number.
 */

/** Sends and shows the text that it was parsed from. */
export class ExactNumber {
  readonly source: string
  constructor(source: string) {
    this.source = source
  }
  toJSON(): unknown {
    return raw?.(this.source) ?? Number(this.source)
  }
  toString(): string {
    return this.source
  }
}

const raw = (JSON as { rawJSON?: (text: string) => unknown }).rawJSON?.bind(JSON)

/** A frame, or a page of events. */
export function parseEvents<Frame>(text: string): Frame {
  const frame = JSON.parse(text) as Frame
  if (raw && MAY_CHANGE.test(text)) keepInputs(frame as Told, parseExactly(text) as Told)
  return frame
}

export function parseExactly(text: string): unknown {
  return JSON.parse(text, (_key, value: unknown, context?: { source?: string }) => {
    const source = context?.source
    if (typeof value !== 'number' || source === undefined) return value
    return JSON.stringify(value) === source ? value : new ExactNumber(source)
  })
}

/** Whether a number may not be what it seems, in a browser that does not tell its source. */
export function mayBeRounded(value: unknown): boolean {
  if (typeof value === 'number') return Math.abs(value) > Number.MAX_SAFE_INTEGER
  return typeof value === 'object' && value !== null && Object.values(value).some(mayBeRounded)
}

/** Cheap, and often enough no: a number with many digits, an exponent, or a zero at its end. */
const MAY_CHANGE = /[:,[]\s*-?(?:\d[\d.]{15}|\d+[eE]|\d+\.\d*(?:0(?!\d)|[eE])|0(?<=-0))/

interface Asking {
  type?: string
  input?: unknown
}

interface Told {
  events?: readonly { event: Asking }[]
  session?: { permissions?: readonly Asking[] }
}

function keepInputs(frame: Told, exact: Told): void {
  frame.events?.forEach(({ event }, index) => keepInput(event, exact.events?.[index]?.event))
  frame.session?.permissions?.forEach((asked, index) =>
    keepInput(asked, exact.session?.permissions?.[index]),
  )
}

function keepInput(event: Asking, exact: Asking | undefined): void {
  const carries = event.type === 'permission_requested' || event.type === 'tool_started'
  if (carries && exact) event.input = exact.input
}
