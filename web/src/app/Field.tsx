import type { InputHTMLAttributes } from 'react'

export function Field({
  label,
  ...input
}: InputHTMLAttributes<HTMLInputElement> & { label: string }) {
  return (
    <label className="field">
      <span className="field-label">{label}</span>
      <input className="input" required {...input} />
    </label>
  )
}
