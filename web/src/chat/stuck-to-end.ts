import { useCallback, useEffect, useState } from 'react'

const NEAR_PX = 48

/** Keeps a growing list at its end for as long as the person has not scrolled away from it. */
export function useStuckToEnd(scroller: HTMLElement | null): { stuck: boolean; jump: () => void } {
  const [stuck, setStuck] = useState(true)

  const jump = useCallback(() => {
    scroller?.scrollTo({ top: scroller.scrollHeight })
    setStuck(true)
  }, [scroller])

  useEffect(() => {
    if (!scroller) return
    let following = true
    let height = scroller.scrollHeight
    const look = () => {
      const grew = scroller.scrollHeight !== height
      height = scroller.scrollHeight
      const near = height - scroller.scrollTop - scroller.clientHeight < NEAR_PX
      // A scroll that growth itself caused is no wish of anybody.
      if (near || !grew) following = near
      setStuck(following)
    }
    const follow = () => {
      height = scroller.scrollHeight
      if (following) scroller.scrollTo({ top: height })
    }
    const sizes = new ResizeObserver(follow)
    sizes.observe(scroller)
    for (const child of scroller.children) sizes.observe(child)
    scroller.addEventListener('scroll', look, { passive: true })
    return () => {
      sizes.disconnect()
      scroller.removeEventListener('scroll', look)
    }
  }, [scroller])

  return { stuck, jump }
}
