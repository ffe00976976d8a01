/** A table that scrolls where it is too wide; on a phone each line of it is a block. */
import type { ReactNode } from 'react'

export interface AdminTableProps {
  kind: string
  labelledBy: string
  columns: readonly string[]
  children: ReactNode
}

export function AdminTable({ kind, labelledBy, columns, children }: AdminTableProps) {
  return (
    <div
      className="admin-table"
      data-kind={kind}
      role="group"
      aria-labelledby={labelledBy}
      // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, so keys must reach it
      tabIndex={0}
    >
      <table>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column} scope="col">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  )
}
