/** A file that is dropped beside the panel would take the page's place: it is let fall. */
import { useEffect } from 'react'

export function useDropGuard(): void {
  useEffect(() => {
    const letFall = (event: DragEvent) => {
      if (event.defaultPrevented || !event.dataTransfer?.types.includes('Files')) return
      event.preventDefault()
      event.dataTransfer.dropEffect = 'none'
    }
    addEventListener('dragover', letFall)
    addEventListener('drop', letFall)
    return () => {
      removeEventListener('dragover', letFall)
      removeEventListener('drop', letFall)
    }
  }, [])
}
