/** A button that opens a list of things to do. */
import type { LucideIcon } from 'lucide-react'
import { Button, Menu, MenuItem, MenuTrigger, Popover } from 'react-aria-components'

export interface Action {
  id: string
  label: string
  icon: LucideIcon
  danger?: boolean
  run: () => void
}

export function ActionMenu(props: { label: string; icon: LucideIcon; actions: readonly Action[] }) {
  const Icon = props.icon
  return (
    <MenuTrigger>
      <Button className="button" data-variant="quiet" data-icon="" aria-label={props.label}>
        <Icon size={16} aria-hidden="true" />
      </Button>
      <Popover className="popover" placement="bottom end">
        <Menu className="menu" items={props.actions}>
          {(action) => (
            <MenuItem
              className="menu-item"
              textValue={action.label}
              onAction={action.run}
              {...(action.danger ? { 'data-danger': '' } : {})}
            >
              <action.icon size={15} aria-hidden="true" />
              <span>{action.label}</span>
            </MenuItem>
          )}
        </Menu>
      </Popover>
    </MenuTrigger>
  )
}
