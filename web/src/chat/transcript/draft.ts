/** A transcript that is being changed: each map is copied once, when it is first touched. */
import type { SequencedEvent, SessionView } from '@/protocol/chat.generated'
import { own } from '@/ui/own'
import type { Row, Task, Transcript, Turn } from './shape'

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

export class Draft {
  private readonly next: Mutable<Transcript>
  private readonly before: Transcript

  constructor(before: Transcript) {
    this.before = before
    this.next = { ...before }
  }

  done(): Transcript {
    return this.next
  }

  get<Key extends keyof Transcript>(key: Key): Transcript[Key] {
    return this.next[key]
  }

  set<Key extends keyof Transcript>(key: Key, value: Transcript[Key]): void {
    this.next[key] = value
  }

  row(id: string): Row | undefined {
    return this.next.rows[id]
  }

  /** Puts a new row at the end of its list, or replaces the one with its id where it stands. */
  put(row: Row): void {
    const known = row.id in this.next.rows
    this.rows()[row.id] = row
    if (row.kind === 'tool') this.next.tools = { ...this.next.tools, [row.toolUseId]: row.id }
    if (!known) this.append(row)
  }

  replace(row: Row): void {
    this.rows()[row.id] = row
  }

  remove(id: string): void {
    const kept = Object.entries(this.next.rows).filter(([other]) => other !== id)
    this.next.rows = Object.fromEntries(kept)
    this.next.order = this.next.order.filter((other) => other !== id)
    this.next.outgoing = this.next.outgoing.filter((other) => other !== id)
  }

  append(row: Row): void {
    if (row.parent === null) {
      if (this.next.order === this.before.order) this.next.order = [...this.before.order]
      ;(this.next.order as string[]).push(row.id)
    } else {
      const siblings = own(this.next.children, row.parent) ?? []
      this.next.children = { ...this.next.children, [row.parent]: [...siblings, row.id] }
    }
  }

  log(event: SequencedEvent): void {
    if (this.next.events === this.before.events) this.next.events = [...this.before.events]
    ;(this.next.events as SequencedEvent[]).push(event)
  }

  session(change: Partial<SessionView>): void {
    if (this.next.session) this.next.session = { ...this.next.session, ...change }
  }

  task(task: Task): void {
    this.next.tasks = { ...this.next.tasks, [task.id]: task }
  }

  turn(id: string, change: (turn: Turn) => Turn): void {
    this.next.turns = this.next.turns.map((turn) => (turn.id === id ? change(turn) : turn))
  }

  private rows(): Record<string, Row> {
    if (this.next.rows === this.before.rows) this.next.rows = { ...this.before.rows }
    return this.next.rows as Record<string, Row>
  }
}
