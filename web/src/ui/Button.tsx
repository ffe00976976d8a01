import type { ButtonHTMLAttributes, Ref } from 'react'

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  variant?: 'plain' | 'primary' | 'quiet' | 'danger'
  ref?: Ref<HTMLButtonElement>
}

export function Button({ variant = 'plain', className = '', ...rest }: ButtonProps) {
  return <button type="button" className={`button ${className}`} data-variant={variant} {...rest} />
}

/** A button that shows a picture only; its name is said and shown on hover. */
export function IconButton({ label, ...rest }: ButtonProps & { label: string }) {
  return <Button variant="quiet" data-icon="" aria-label={label} title={label} {...rest} />
}
