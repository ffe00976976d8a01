/** Colours for code, worked out in a worker; until they come, and where none come, it is plain. */
import { createContext, useContext, useEffect, useState } from 'react'

export interface Token {
  text: string
  /** A class name. */
  kind: string
}

export type Lines = Token[][]

export interface Highlighter {
  highlight(text: string, language: string): Promise<Lines | null>
}

/** Beyond this the grammar's regular expressions take too long to be worth it. */
const LONGEST = 60_000
const SETTLED_MS = 120

export const HighlighterContext = createContext<Highlighter | null>(null)

export function useHighlighted(text: string, language: string): Lines | null {
  const highlighter = useContext(HighlighterContext)
  const [done, setDone] = useState<{ text: string; lines: Lines | null }>({ text: '', lines: null })
  useEffect(() => {
    if (!highlighter || !language || text.length > LONGEST) return
    let wanted = true
    // While code is being written each piece would cost a whole run: wait until it rests.
    const timer = setTimeout(() => {
      void highlighter.highlight(text, language).then((lines) => {
        if (wanted) setDone({ text, lines })
      })
    }, SETTLED_MS)
    return () => {
      wanted = false
      clearTimeout(timer)
    }
  }, [highlighter, text, language])
  return done.text === text ? done.lines : null
}
