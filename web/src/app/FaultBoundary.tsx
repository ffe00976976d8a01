/** A fault of the page itself: say so, keep what can be kept, offer a way on. */
import { Component, type ReactNode } from 'react'
import { useTranslation } from 'react-i18next'
import { Button } from '@/ui/Button'

export class FaultBoundary extends Component<{ children: ReactNode }, { fault: Error | null }> {
  override state = { fault: null }

  static getDerivedStateFromError(fault: Error) {
    return { fault }
  }

  override render(): ReactNode {
    return this.state.fault ? <Fault fault={this.state.fault} /> : this.props.children
  }
}

function Fault({ fault }: { fault: Error }) {
  const { t } = useTranslation()
  return (
    <main className="home">
      <div className="home-text" role="alert">
        <h1>{t('app.fault')}</h1>
        <p>{t('app.faultText')}</p>
        <pre className="tool-output">{fault.message}</pre>
        <Button variant="primary" onClick={() => location.reload()}>
          {t('app.reload')}
        </Button>
      </div>
    </main>
  )
}
