import { expect, it } from 'vitest'
import type { RefusedHost } from '@/connection/resources'
import { allowanceOf } from './allowance'

const refused = (change: Partial<RefusedHost>): RefusedHost => ({
  profile: 'default',
  host: 'pypi.example.org',
  port: 443,
  tag: 'host_not_allowed',
  count: 1,
  first_at: '',
  last_at: '',
  ...change,
})

it('names the host and its port, and says where the address is a private one', () => {
  expect(allowanceOf(refused({}))).toBe('{ host = "pypi.example.org", ports = [443] },')
  expect(allowanceOf(refused({ tag: 'private_address', port: 8080 }))).toBe(
    '{ host = "pypi.example.org", ports = [8080], private = true },',
  )
})

it.each([
  ['an address', { host: '10.0.0.1' }],
  ['an IPv6 address', { host: '[::1]' }],
  ['a name that would end the string', { host: 'a", ports = [1] }, { host = "evil.example' }],
  ['a name with something hidden in it', { host: 'exam\\u200bple.org' }],
  ['a budget that is spent', { tag: 'over_budget' }],
  ['no name at all', { host: '' }],
])('offers nothing for %s', (_what, change) => expect(allowanceOf(refused(change))).toBe(''))
