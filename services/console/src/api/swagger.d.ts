// What is used of Swagger UI, which brings no types.
declare module 'swagger-ui-dist/swagger-ui-es-bundle.js' {
  interface ViewerRequest {
    url: string;
    headers: Record<string, string>;
    userFetch?: (url: string, init: RequestInit) => Promise<Response>;
    curlOptions?: string[];
  }
  interface ViewerOptions {
    url: string;
    domNode: HTMLElement;
    docExpansion: 'none' | 'list' | 'full';
    defaultModelsExpandDepth: number;
    defaultModelRendering: 'example' | 'model';
    displayRequestDuration: boolean;
    filter: boolean;
    syntaxHighlight: boolean;
    validatorUrl: null;
    requestInterceptor: (request: ViewerRequest) => ViewerRequest;
    plugins: (() => object)[];
    onComplete: () => void;
  }
  const SwaggerUI: (options: ViewerOptions) => unknown;
  export default SwaggerUI;
}
