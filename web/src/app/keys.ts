/** Keys that work on every page. */
import { useEffect } from 'react'
import { useLocation } from 'wouter'
import { usePreferencesStore } from '@/settings/preferences'

const LANDMARKS =
  '.sidebar, .session, .home, .admin, .dock-frame:not([hidden]), .composer-text, .inspector'

export function useAppKeys({ help }: { help: () => void }): void {
  const preferences = usePreferencesStore()
  const [, navigate] = useLocation()
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === 'F6') cycle(event.shiftKey ? -1 : 1)
      else if (event.key === '?' && !isTyping(event.target)) help()
      else if (event.altKey && event.code === 'KeyN') navigate('/')
      else if (event.altKey && event.code === 'KeyB') {
        preferences.setState({ sidebar: !preferences.getState().sidebar })
      } else return
      event.preventDefault()
    }
    addEventListener('keydown', onKey)
    return () => removeEventListener('keydown', onKey)
  }, [help, navigate, preferences])
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement && target.matches('input, textarea, select, [contenteditable]')
  )
}

/** From one part of the page to the next, wherever inside it one is. */
function cycle(step: 1 | -1): void {
  const parts = [...document.querySelectorAll<HTMLElement>(LANDMARKS)].filter(
    (part) => part.offsetParent !== null,
  )
  const here = parts.findLastIndex((part) => part.contains(document.activeElement))
  const next = parts[(here + step + parts.length) % parts.length]
  const heading = next?.matches('.dock-frame') ? next.querySelector<HTMLElement>('h2') : null
  ;(heading ?? next)?.focus()
}
