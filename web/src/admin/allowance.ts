/** The line that would allow a refused host, for the profile's `allow` under `[profile.egress]`. */
import type { RefusedHost } from '@/connection/resources'

const NAME =
  /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?$/i
const ADDRESS = /^[\d.]+$|:/
const HELPS = new Set(['host_not_allowed', 'port_not_allowed', 'private_address'])

/** Empty where no line would help: addresses are never allowed, and a budget is no matter of hosts. */
export function allowanceOf({ host, port, tag }: RefusedHost): string {
  if (!HELPS.has(tag) || !NAME.test(host) || ADDRESS.test(host)) return ''
  const rest = tag === 'private_address' ? ', private = true' : ''
  return `{ host = "${host.toLowerCase()}", ports = [${port}]${rest} },`
}
